/* The LDS (DS instructions): reads, writes, atomics, and the lane permutations that pass through its crossbar. */
#include "lds.h"

/* ---- reads and writes -------------------------------------------------------------------------------------------- */

INLINE void read_lanes(const Wave *wave, const uint32_t address[LANES], uint32_t to, uint32_t bytes) {
    const uint8_t *lds = wave->group->lds;
    uint64_t exec = exec_mask(wave);
    uint32_t dword[4];
    if (exec == UINT64_MAX) {
        for (uint32_t lane = 0; lane < LANES; lane++) {
            memcpy(dword, lds + address[lane], bytes);
            for (uint32_t i = 0; i < bytes / 4; i++) wave->v[to + i][lane] = dword[i];
        }
        return;
    }
    for (uint64_t rest = exec; rest; rest &= rest - 1) {
        uint32_t lane = (uint32_t)__builtin_ctzll(rest);
        memcpy(dword, lds + address[lane], bytes);
        for (uint32_t i = 0; i < bytes / 4; i++) wave->v[to + i][lane] = dword[i];
    }
}

INLINE void write_lanes(const Wave *wave, const uint32_t address[LANES], uint32_t from, uint32_t bytes, uint32_t shift) {
    uint8_t *lds = wave->group->lds;
    for (uint64_t rest = exec_mask(wave); rest; rest &= rest - 1) {
        uint32_t lane = (uint32_t)__builtin_ctzll(rest), dword[4];
        dword[0] = wave->v[from][lane] >> shift;
        for (uint32_t i = 1; i < bytes / 4; i++) dword[i] = wave->v[from + i][lane];
        memcpy(lds + address[lane], dword, bytes);
    }
}

INLINE Status read_dwords(Launch *launch, Wave *wave, const Insn *insn, uint32_t bytes) {
    uint32_t address[LANES];
    find_address(wave, insn, (uint16_t)insn->imm, address);
    Status status = lds_access(launch, wave, insn, address, bytes, WATCH_READ, BANKS_READ);
    if (status == STATUS_OK) read_lanes(wave, address, insn->dst.index, bytes);
    return status;
}

INLINE Status write_bytes(Launch *launch, Wave *wave, const Insn *insn, uint32_t bytes, uint32_t shift) {
    uint32_t address[LANES];
    find_address(wave, insn, (uint16_t)insn->imm, address);
    Status status = lds_access(launch, wave, insn, address, bytes, WATCH_WRITE, BANKS_WRITE);
    if (status != STATUS_OK) return status;
    write_lanes(wave, address, insn->src[DS_DATA0].index, bytes, shift);
    return lds_written(launch, wave, insn);
}

/* Two accesses; the byte offsets count in elements, or in 64 elements. Both addresses are taken before the first result
 * is written: the destination may overlap the address register. */
INLINE void find_address_pair(const Wave *wave, const Insn *insn, uint32_t scale, uint32_t first[LANES],
                              uint32_t second[LANES]) {
    find_address(wave, insn, (insn->imm & 0xFF) * scale, first);
    find_address(wave, insn, (insn->imm >> 8 & 0xFF) * scale, second);
}

INLINE Status read_two(Launch *launch, Wave *wave, const Insn *insn, uint32_t bytes, uint32_t elements) {
    uint32_t first[LANES], second[LANES];
    find_address_pair(wave, insn, bytes * elements, first, second);
    Status status = lds_access(launch, wave, insn, first, bytes, WATCH_READ, BANKS_READ2);
    if (status == STATUS_OK) status = lds_access(launch, wave, insn, second, bytes, WATCH_READ, BANKS_READ2);
    if (status != STATUS_OK) return status;
    read_lanes(wave, first, insn->dst.index, bytes);
    read_lanes(wave, second, insn->dst.index + bytes / 4, bytes);
    return STATUS_OK;
}

INLINE Status write_two(Launch *launch, Wave *wave, const Insn *insn, uint32_t bytes, uint32_t elements) {
    uint32_t first[LANES], second[LANES];
    find_address_pair(wave, insn, bytes * elements, first, second);
    Status status = lds_access(launch, wave, insn, first, bytes, WATCH_WRITE, BANKS_WRITE);
    if (status == STATUS_OK) status = lds_access(launch, wave, insn, second, bytes, WATCH_WRITE, BANKS_WRITE);
    if (status != STATUS_OK) return status;
    write_lanes(wave, first, insn->src[DS_DATA0].index, bytes, 0);
    write_lanes(wave, second, insn->src[DS_DATA1].index, bytes, 0);
    return lds_written(launch, wave, insn);
}

/* Less than a dword: extended to 32 bits, or put into one half of the register (keep: the mask of what stays). */
INLINE Status read_part(Launch *launch, Wave *wave, const Insn *insn, uint32_t bytes, bool sign, uint32_t keep,
                        uint32_t shift) {
    uint32_t address[LANES];
    find_address(wave, insn, (uint16_t)insn->imm, address);
    Status status = lds_access(launch, wave, insn, address, bytes, WATCH_READ, BANKS_READ);
    if (status != STATUS_OK) return status;
    uint32_t *to = wave->v[insn->dst.index];
    for (uint64_t rest = exec_mask(wave); rest; rest &= rest - 1) {
        uint32_t lane = (uint32_t)__builtin_ctzll(rest), value = 0;
        memcpy(&value, wave->group->lds + address[lane], bytes);
        if (sign) value = bytes == 1 ? (uint32_t)(int8_t)value : (uint32_t)(int16_t)value;
        to[lane] = (to[lane] & keep) | (keep ? (value & 0xFFFF) << shift : value);
    }
    return STATUS_OK;
}

/* M0 and the lane number give the address. */
INLINE void addtid_address(const Wave *wave, const Insn *insn, uint32_t address[LANES]) {
    uint32_t base = (wave->s[SGPR_M0] & 0xFFFF) + (uint16_t)insn->imm;
    for (uint32_t lane = 0; lane < LANES; lane++) address[lane] = base + lane * 4;
}

static Status read_addtid_b32(Launch *launch, Wave *wave, const Insn *insn) {
    uint32_t address[LANES];
    addtid_address(wave, insn, address);
    Status status = lds_access(launch, wave, insn, address, 4, WATCH_READ, BANKS_READ);
    if (status == STATUS_OK) read_lanes(wave, address, insn->dst.index, 4);
    return status;
}

static Status write_addtid_b32(Launch *launch, Wave *wave, const Insn *insn) {
    uint32_t address[LANES];
    addtid_address(wave, insn, address);
    Status status = lds_access(launch, wave, insn, address, 4, WATCH_WRITE, BANKS_WRITE);
    if (status != STATUS_OK) return status;
    write_lanes(wave, address, insn->src[DS_DATA0].index, 4, 0);
    return lds_written(launch, wave, insn);
}

/* ---- transposing reads of gfx950 --------------------------------------------------------------------------------- */

/* Sixteen lanes read a matrix of 16 columns: 16 / n lanes in a row give it row by row, n elements each, and lane c
 * receives column c. n is 4, 8, 16 for elements of 16, 8 and 4 bits in 64 bits; 16 of 6 bits in 96 bits. The ISA document
 * only says "transpose"; what Triton compiles with 16, 8 and 4 bits gives the right products under this reading. 6 bits
 * follow the same rule, but no compiler here emits them. */
INLINE Status read_transposed(Launch *launch, Wave *wave, const Insn *insn, uint32_t bits, uint32_t bytes) {
    uint32_t address[LANES];
    find_address(wave, insn, (uint16_t)insn->imm, address);
    uint64_t exec = exec_mask(wave);
    for (uint32_t first = 0; first < LANES; first += 16) {
        uint64_t group = exec >> first & 0xFFFF;
        if (group != 0 && group != 0xFFFF)
            return cdna_unsupported(launch, insn, "a transposing read by some of 16 lanes (EXEC 0x%016llx)",
                                    (unsigned long long)exec);
    }
    Status status = lds_access(launch, wave, insn, address, bytes, WATCH_READ, BANKS_READ);
    if (status != STATUS_OK) return status;
    uint32_t elements = bytes * 8 / bits, lanes_per_row = 16 / elements;
    for (uint32_t first = 0; first < LANES; first += 16) {
        if (!(exec >> first & 1)) continue;
        uint8_t matrix[16][16 * 2]; /* rows of 16 elements, each widened to 16 bits */
        for (uint32_t i = 0; i < 16; i++) {
            uint8_t packed[16 + 4] = {0};
            memcpy(packed, wave->group->lds + address[first + i], bytes);
            for (uint32_t e = 0; e < elements; e++) {
                uint32_t window;
                memcpy(&window, packed + e * bits / 8, sizeof window);
                uint16_t element = (uint16_t)(window >> e * bits % 8 & ((1u << bits) - 1));
                memcpy(&matrix[i / lanes_per_row][2 * (i % lanes_per_row * elements + e)], &element, sizeof element);
            }
        }
        for (uint32_t column = 0; column < 16; column++) {
            uint8_t packed[16 + 4] = {0};
            for (uint32_t row = 0; row < elements; row++) {
                uint16_t element;
                uint32_t window;
                memcpy(&element, &matrix[row][2 * column], sizeof element);
                memcpy(&window, packed + row * bits / 8, sizeof window);
                window |= (uint32_t)element << row * bits % 8;
                memcpy(packed + row * bits / 8, &window, sizeof window);
            }
            for (uint32_t i = 0; i < bytes / 4; i++)
                memcpy(&wave->v[insn->dst.index + i][first + column], packed + 4 * i, 4);
        }
    }
    return STATUS_OK;
}

/* ---- lane permutations: no LDS is touched -------------------------------------------------------------------------- */

static Status bpermute_b32(Launch *launch, Wave *wave, const Insn *insn) {
    (void)launch;
    uint32_t data[LANES], from[LANES], result[LANES], offset = (uint16_t)insn->imm;
    uint64_t exec = exec_mask(wave);
    const uint32_t *source = wave->v[insn->src[DS_DATA0].index], *index = wave->v[insn->src[DS_ADDRESS].index];
    for (uint32_t lane = 0; lane < LANES; lane++) {
        data[lane] = exec >> lane & 1 ? source[lane] : 0; /* a lane that is off gives 0 */
        from[lane] = (index[lane] + offset) / 4 % LANES;
    }
    for (uint32_t lane = 0; lane < LANES; lane++) result[lane] = data[from[lane]];
    uint32_t *to = wave->v[insn->dst.index];
    for (uint32_t lane = 0; lane < LANES; lane++) to[lane] = exec >> lane & 1 ? result[lane] : to[lane];
    return STATUS_OK;
}

/* Where two lanes send to one, the higher lane wins; who receives nothing gets 0. */
static Status permute_b32(Launch *launch, Wave *wave, const Insn *insn) {
    (void)launch;
    uint32_t result[LANES] = {0}, offset = (uint16_t)insn->imm;
    uint64_t exec = exec_mask(wave);
    const uint32_t *source = wave->v[insn->src[DS_DATA0].index], *index = wave->v[insn->src[DS_ADDRESS].index];
    for (uint64_t rest = exec; rest; rest &= rest - 1) {
        uint32_t lane = (uint32_t)__builtin_ctzll(rest);
        result[(index[lane] + offset) / 4 % LANES] = source[lane];
    }
    uint32_t *to = wave->v[insn->dst.index];
    for (uint32_t lane = 0; lane < LANES; lane++) to[lane] = exec >> lane & 1 ? result[lane] : to[lane];
    return STATUS_OK;
}

/* The offset holds the pattern: bit 15 set, four 2-bit lane numbers within each 4 lanes; else and, or, xor masks on the
 * lane number within 32. The FFT and rotate patterns (0xC000 and above) are not modelled. The data is src[0]. */
static Status swizzle_b32(Launch *launch, Wave *wave, const Insn *insn) {
    uint32_t pattern = (uint16_t)insn->imm, result[LANES];
    if (pattern >= 0xC000) return cdna_unsupported(launch, insn, "ds_swizzle pattern 0x%x", pattern);
    uint64_t exec = exec_mask(wave);
    const uint32_t *source = wave->v[insn->src[DS_ADDRESS].index];
    for (uint32_t lane = 0; lane < LANES; lane++) {
        uint32_t from = pattern & 0x8000
                            ? (lane & ~3u) + (pattern >> 2 * (lane & 3) & 3)
                            : (lane & 32) + ((((lane & 31) & (pattern & 31)) | (pattern >> 5 & 31)) ^ (pattern >> 10 & 31));
        result[lane] = exec >> from & 1 ? source[from] : 0;
    }
    uint32_t *to = wave->v[insn->dst.index];
    for (uint32_t lane = 0; lane < LANES; lane++) to[lane] = exec >> lane & 1 ? result[lane] : to[lane];
    return STATUS_OK;
}

static Status nop(Launch *launch, Wave *wave, const Insn *insn) {
    (void)launch, (void)wave, (void)insn;
    return STATUS_OK;
}

/* ---- the operations ------------------------------------------------------------------------------------------------ */

#define PLAIN_OPERATIONS(X)                                                                                            \
    X(read_b32, read_dwords(launch, wave, insn, 4))                                                                    \
    X(read_b64, read_dwords(launch, wave, insn, 8))                                                                    \
    X(read_b96, read_dwords(launch, wave, insn, 12))                                                                   \
    X(read_b128, read_dwords(launch, wave, insn, 16))                                                                  \
    X(read2_b32, read_two(launch, wave, insn, 4, 1))                                                                   \
    X(read2_b64, read_two(launch, wave, insn, 8, 1))                                                                   \
    X(read2st64_b32, read_two(launch, wave, insn, 4, 64))                                                              \
    X(read2st64_b64, read_two(launch, wave, insn, 8, 64))                                                              \
    X(read_u8, read_part(launch, wave, insn, 1, false, 0, 0))                                                          \
    X(read_i8, read_part(launch, wave, insn, 1, true, 0, 0))                                                           \
    X(read_u16, read_part(launch, wave, insn, 2, false, 0, 0))                                                         \
    X(read_i16, read_part(launch, wave, insn, 2, true, 0, 0))                                                          \
    X(read_u8_d16, read_part(launch, wave, insn, 1, false, 0xFFFF0000, 0))                                             \
    X(read_u8_d16_hi, read_part(launch, wave, insn, 1, false, 0xFFFF, 16))                                             \
    X(read_i8_d16, read_part(launch, wave, insn, 1, true, 0xFFFF0000, 0))                                              \
    X(read_i8_d16_hi, read_part(launch, wave, insn, 1, true, 0xFFFF, 16))                                              \
    X(read_u16_d16, read_part(launch, wave, insn, 2, false, 0xFFFF0000, 0))                                            \
    X(read_u16_d16_hi, read_part(launch, wave, insn, 2, false, 0xFFFF, 16))                                            \
    X(read_b64_tr_b16, read_transposed(launch, wave, insn, 16, 8))                                                     \
    X(read_b64_tr_b8, read_transposed(launch, wave, insn, 8, 8))                                                       \
    X(read_b64_tr_b4, read_transposed(launch, wave, insn, 4, 8))                                                       \
    X(read_b96_tr_b6, read_transposed(launch, wave, insn, 6, 12))                                                      \
    X(write_b8, write_bytes(launch, wave, insn, 1, 0))                                                                 \
    X(write_b16, write_bytes(launch, wave, insn, 2, 0))                                                                \
    X(write_b8_d16_hi, write_bytes(launch, wave, insn, 1, 16))                                                         \
    X(write_b16_d16_hi, write_bytes(launch, wave, insn, 2, 16))                                                        \
    X(write_b32, write_bytes(launch, wave, insn, 4, 0))                                                                \
    X(write_b64, write_bytes(launch, wave, insn, 8, 0))                                                                \
    X(write_b96, write_bytes(launch, wave, insn, 12, 0))                                                               \
    X(write_b128, write_bytes(launch, wave, insn, 16, 0))                                                              \
    X(write2_b32, write_two(launch, wave, insn, 4, 1))                                                                 \
    X(write2_b64, write_two(launch, wave, insn, 8, 1))                                                                 \
    X(write2st64_b32, write_two(launch, wave, insn, 4, 64))                                                            \
    X(write2st64_b64, write_two(launch, wave, insn, 8, 64))

#define DEFINE_PLAIN(name, call)                                                                                       \
    static Status name(Launch *launch, Wave *wave, const Insn *insn) { return call; }
PLAIN_OPERATIONS(DEFINE_PLAIN)

#define PLAIN_ENTRY(name, call) {"ds_" #name, name, CLASS_LDS, 0},
#define ATOMIC_ENTRY(name, returning, bytes, expression)                                                               \
    {"ds_" #name, lds_##name, CLASS_LDS, 0}, {"ds_" #returning, lds_##returning, CLASS_LDS, 0},

const OperationEntry LDS_OPERATIONS[] = {
    PLAIN_OPERATIONS(PLAIN_ENTRY)
    LDS_ATOMICS(ATOMIC_ENTRY)
    {"ds_read_addtid_b32", read_addtid_b32, CLASS_LDS, 0},
    {"ds_write_addtid_b32", write_addtid_b32, CLASS_LDS, 0},
    {"ds_bpermute_b32", bpermute_b32, CLASS_LDS, 0},
    {"ds_permute_b32", permute_b32, CLASS_LDS, 0},
    {"ds_swizzle_b32", swizzle_b32, CLASS_LDS, 0},
    {"ds_nop", nop, CLASS_LDS, 0},
    {NULL, NULL, 0, 0},
};
