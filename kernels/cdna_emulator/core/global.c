/* Loads and stores of the vector memory unit: global, flat, buffer, scratch; and loads straight into LDS. */
#include "global.h"

#include "watch.h"

typedef enum { /* what a load leaves in its first register */
    LOAD_DWORDS,
    LOAD_U8,
    LOAD_S8,
    LOAD_U16,
    LOAD_S16,
} LoadKind;

typedef enum { HALF_NONE, HALF_LOW, HALF_HIGH } Half; /* _d16, _d16_hi: one half of the register, the other is kept */

INLINE uint32_t load_part(const uint8_t *from, LoadKind kind) {
    uint16_t word;
    switch (kind) {
    case LOAD_U8: return *from;
    case LOAD_S8: return (uint32_t)(int32_t)(int8_t)*from;
    default: memcpy(&word, from, sizeof word);
    }
    return kind == LOAD_S16 ? (uint32_t)(int32_t)(int16_t)word : word;
}

INLINE uint32_t merge_half(uint32_t before, uint32_t value, Half half) {
    if (half == HALF_LOW) return (before & 0xFFFF0000) | (value & 0xFFFF);
    if (half == HALF_HIGH) return (before & 0xFFFF) | value << 16;
    return value;
}

INLINE void load_lane(uint32_t (*to)[LANES], uint32_t lane, const uint8_t *from, LoadKind kind, uint32_t bytes,
                      Half half) {
    if (kind == LOAD_DWORDS) {
        uint32_t dword[4];
        memcpy(dword, from, bytes);
        for (uint32_t i = 0; i < bytes / 4; i++) to[i][lane] = dword[i];
    } else {
        to[0][lane] = merge_half(to[0][lane], load_part(from, kind), half);
    }
}

/* Buffer lanes that are wholly or partly out of range: zeros, after the dwords that are in range. */
static Status load_out_of_range(Launch *launch, Wave *wave, const Insn *insn, const Places *places, uint32_t bytes,
                                Half half) {
    uint32_t (*to)[LANES] = wave->v + insn->dst.index;
    uint64_t outside = exec_mask(wave) & ~places->mask;
    for (uint64_t rest = outside; rest; rest &= rest - 1) {
        uint32_t lane = (uint32_t)__builtin_ctzll(rest);
        uint32_t dword[4] = {0};
        if (places->partial >> lane & 1) {
            Status status = memory_touch(launch, wave, insn, places->address, 1ull << lane, 4u * places->dwords[lane],
                                         ACCESS_LOAD);
            if (status != STATUS_OK) return status;
            memcpy(dword, (const void *)(uintptr_t)places->address[lane], 4u * places->dwords[lane]);
        }
        for (uint32_t i = 0; i < (bytes + 3) / 4; i++) to[i][lane] = merge_half(to[i][lane], dword[i], half);
    }
    return STATUS_OK;
}

INLINE Status load(Launch *launch, Wave *wave, const Insn *insn, Form form, LoadKind kind, uint32_t bytes, Half half) {
    Places places;
    Status status = find_places(launch, wave, insn, form, bytes, false, &places);
    if (status == STATUS_OK && form != FORM_SCRATCH)
        status = memory_touch(launch, wave, insn, places.address, places.mask, bytes, ACCESS_LOAD);
    if (status != STATUS_OK) return status;
    uint32_t (*to)[LANES] = wave->v + insn->dst.index;
    if (places.mask == UINT64_MAX) {
        for (uint32_t lane = 0; lane < LANES; lane++)
            load_lane(to, lane, (const uint8_t *)(uintptr_t)places.address[lane], kind, bytes, half);
        return STATUS_OK;
    }
    for (uint64_t rest = places.mask; rest; rest &= rest - 1) {
        uint32_t lane = (uint32_t)__builtin_ctzll(rest);
        load_lane(to, lane, (const uint8_t *)(uintptr_t)places.address[lane], kind, bytes, half);
    }
    if (form == FORM_BUFFER && places.mask != exec_mask(wave))
        return load_out_of_range(launch, wave, insn, &places, bytes, half);
    return STATUS_OK;
}

INLINE void store_lane(uint8_t *to, uint32_t (*from)[LANES], uint32_t lane, uint32_t bytes, Half half) {
    uint32_t dword[4];
    dword[0] = half == HALF_HIGH ? from[0][lane] >> 16 : from[0][lane];
    for (uint32_t i = 1; i < bytes / 4; i++) dword[i] = from[i][lane];
    memcpy(to, dword, bytes);
}

INLINE Status store(Launch *launch, Wave *wave, const Insn *insn, Form form, uint32_t bytes, Half half) {
    Places places;
    Status status = find_places(launch, wave, insn, form, bytes, false, &places);
    if (status == STATUS_OK && form != FORM_SCRATCH)
        status = memory_touch(launch, wave, insn, places.address, places.mask, bytes, ACCESS_STORE);
    if (status != STATUS_OK) return status;
    uint32_t (*from)[LANES] = wave->v + insn->src[SOURCE_DATA].index;
    for (uint64_t rest = places.mask; rest; rest &= rest - 1) {
        uint32_t lane = (uint32_t)__builtin_ctzll(rest);
        store_lane((uint8_t *)(uintptr_t)places.address[lane], from, lane, bytes, half);
    }
    for (uint64_t rest = places.partial; rest; rest &= rest - 1) {
        uint32_t lane = (uint32_t)__builtin_ctzll(rest), inside = 4u * places.dwords[lane];
        status = memory_touch(launch, wave, insn, places.address, 1ull << lane, inside, ACCESS_STORE);
        if (status != STATUS_OK) return status;
        store_lane((uint8_t *)(uintptr_t)places.address[lane], from, lane, inside, half);
    }
    return STATUS_OK;
}

/* Straight into LDS: lane n writes at M0 + instruction offset + n * (4, 12 or 16); a part of a dword arrives extended
 * to 32 bits; a buffer lane out of range writes zeros. Lanes that EXEC turns off leave a hole. M0 holds 16 bits of LDS
 * address on gfx942, which has 64 KiB, and 18 bits on gfx950. */
INLINE Status load_to_lds(Launch *launch, Wave *wave, const Insn *insn, Form form, LoadKind kind, uint32_t bytes) {
    if (bytes > 4 && launch->arch == GFX942) return cdna_unsupported(launch, insn, "more than a dword per lane to LDS");
    uint32_t step = bytes < 4 ? 4 : bytes;
    Places places;
    Status status = find_places(launch, wave, insn, form, bytes, false, &places);
    if (status == STATUS_OK && form != FORM_SCRATCH)
        status = memory_touch(launch, wave, insn, places.address, places.mask, bytes, ACCESS_LOAD);
    if (status != STATUS_OK) return status;
    uint32_t base = (wave->s[SGPR_M0] & (launch->arch == GFX942 ? 0xFFFF : 0x3FFFF)) + (uint32_t)insn->imm;
    uint32_t address[LANES];
    for (uint32_t lane = 0; lane < LANES; lane++) address[lane] = base + lane * step;
    uint64_t exec = exec_mask(wave);
    status = lds_touch(launch, wave, insn, address, exec, step, WATCH_ARRIVAL);
    if (status != STATUS_OK) return status;
    for (uint64_t rest = exec; rest; rest &= rest - 1) {
        uint32_t lane = (uint32_t)__builtin_ctzll(rest), dword[4] = {0};
        const uint8_t *from = (const uint8_t *)(uintptr_t)places.address[lane];
        if (places.partial >> lane & 1) {
            uint32_t inside = 4u * places.dwords[lane];
            status = memory_touch(launch, wave, insn, places.address, 1ull << lane, inside, ACCESS_LOAD);
            if (status != STATUS_OK) return status;
            memcpy(dword, from, inside);
        } else if (places.mask >> lane & 1) {
            if (kind == LOAD_DWORDS) memcpy(dword, from, bytes);
            else dword[0] = load_part(from, kind);
        }
        memcpy(wave->group->lds + address[lane], dword, step);
    }
    launch->counters.lds_write_bytes += (uint64_t)__builtin_popcountll(exec) * step;
    return lds_written(launch, wave, insn);
}

/* ---- the operations ---------------------------------------------------------------------------------------------- */

#define LOADS(X, form, FORM)                                                                                           \
    X(form, FORM, ubyte, LOAD_U8, 1, HALF_NONE)                                                                        \
    X(form, FORM, sbyte, LOAD_S8, 1, HALF_NONE)                                                                        \
    X(form, FORM, ushort, LOAD_U16, 2, HALF_NONE)                                                                      \
    X(form, FORM, sshort, LOAD_S16, 2, HALF_NONE)                                                                      \
    X(form, FORM, dword, LOAD_DWORDS, 4, HALF_NONE)                                                                    \
    X(form, FORM, dwordx2, LOAD_DWORDS, 8, HALF_NONE)                                                                  \
    X(form, FORM, dwordx3, LOAD_DWORDS, 12, HALF_NONE)                                                                 \
    X(form, FORM, dwordx4, LOAD_DWORDS, 16, HALF_NONE)                                                                 \
    X(form, FORM, ubyte_d16, LOAD_U8, 1, HALF_LOW)                                                                     \
    X(form, FORM, ubyte_d16_hi, LOAD_U8, 1, HALF_HIGH)                                                                 \
    X(form, FORM, sbyte_d16, LOAD_S8, 1, HALF_LOW)                                                                     \
    X(form, FORM, sbyte_d16_hi, LOAD_S8, 1, HALF_HIGH)                                                                 \
    X(form, FORM, short_d16, LOAD_U16, 2, HALF_LOW)                                                                    \
    X(form, FORM, short_d16_hi, LOAD_U16, 2, HALF_HIGH)

#define STORES(X, form, FORM)                                                                                          \
    X(form, FORM, byte, 1, HALF_NONE)                                                                                  \
    X(form, FORM, byte_d16_hi, 1, HALF_HIGH)                                                                           \
    X(form, FORM, short, 2, HALF_NONE)                                                                                 \
    X(form, FORM, short_d16_hi, 2, HALF_HIGH)                                                                          \
    X(form, FORM, dword, 4, HALF_NONE)                                                                                 \
    X(form, FORM, dwordx2, 8, HALF_NONE)                                                                               \
    X(form, FORM, dwordx3, 12, HALF_NONE)                                                                              \
    X(form, FORM, dwordx4, 16, HALF_NONE)

#define LDS_LOADS(X, form, FORM)                                                                                       \
    X(form, FORM, ubyte, LOAD_U8, 1)                                                                                   \
    X(form, FORM, sbyte, LOAD_S8, 1)                                                                                   \
    X(form, FORM, ushort, LOAD_U16, 2)                                                                                 \
    X(form, FORM, sshort, LOAD_S16, 2)                                                                                 \
    X(form, FORM, dword, LOAD_DWORDS, 4)                                                                               \
    X(form, FORM, dwordx3, LOAD_DWORDS, 12)                                                                            \
    X(form, FORM, dwordx4, LOAD_DWORDS, 16)

#define FORMS(LIST, X)                                                                                                 \
    LIST(X, global, FORM_GLOBAL)                                                                                       \
    LIST(X, flat, FORM_GLOBAL)                                                                                         \
    LIST(X, buffer, FORM_BUFFER)                                                                                       \
    LIST(X, scratch, FORM_SCRATCH)

/* MUBUF has no operations of their own for LDS: a bit of the instruction says where the data goes. */
#define DEFINE_LOAD(form, FORM, name, kind, bytes, half)                                                               \
    static Status form##_load_##name(Launch *launch, Wave *wave, const Insn *insn) {                                   \
        if (FORM == FORM_BUFFER && (insn->flags & FLAG_LDS)) {                                                         \
            if (half != HALF_NONE || bytes == 8) return cdna_unsupported(launch, insn, "this width to LDS");           \
            return load_to_lds(launch, wave, insn, FORM, kind, bytes);                                                 \
        }                                                                                                              \
        return load(launch, wave, insn, FORM, kind, bytes, half);                                                      \
    }
#define DEFINE_STORE(form, FORM, name, bytes, half)                                                                    \
    static Status form##_store_##name(Launch *launch, Wave *wave, const Insn *insn) {                                  \
        return store(launch, wave, insn, FORM, bytes, half);                                                           \
    }
#define DEFINE_LDS_LOAD(form, FORM, name, kind, bytes)                                                                 \
    static Status form##_load_lds_##name(Launch *launch, Wave *wave, const Insn *insn) {                               \
        return load_to_lds(launch, wave, insn, FORM, kind, bytes);                                                     \
    }
FORMS(LOADS, DEFINE_LOAD)
FORMS(STORES, DEFINE_STORE)
LDS_LOADS(DEFINE_LDS_LOAD, global, FORM_GLOBAL)
LDS_LOADS(DEFINE_LDS_LOAD, scratch, FORM_SCRATCH)

/* Write-back and invalidation of caches: memory is always coherent here. */
static Status cache_control(Launch *launch, Wave *wave, const Insn *insn) {
    (void)launch, (void)wave, (void)insn;
    return STATUS_OK;
}

#define CLASS_OF(FORM) ((FORM) == FORM_SCRATCH ? CLASS_SCRATCH : CLASS_VMEM)
#define LOAD_ENTRY(form, FORM, name, kind, bytes, half) {#form "_load_" #name, form##_load_##name, CLASS_OF(FORM), 0},
#define STORE_ENTRY(form, FORM, name, bytes, half) {#form "_store_" #name, form##_store_##name, CLASS_OF(FORM), 0},
#define ATOMIC_ENTRY(name, bytes, operands, expression)                                                                \
    {"global_atomic_" #name, global_atomic_##name, CLASS_VMEM, 0},                                                     \
    {"flat_atomic_" #name, global_atomic_##name, CLASS_VMEM, 0},                                                       \
    {"buffer_atomic_" #name, buffer_atomic_##name, CLASS_VMEM, 0},
#define LDS_LOAD_ENTRY(form, FORM, name, kind, bytes)                                                                  \
    {#form "_load_lds_" #name, form##_load_lds_##name, CLASS_OF(FORM), 0},

const OperationEntry GLOBAL_OPERATIONS[] = {
    FORMS(LOADS, LOAD_ENTRY)
    FORMS(STORES, STORE_ENTRY)
    LDS_LOADS(LDS_LOAD_ENTRY, global, FORM_GLOBAL)
    LDS_LOADS(LDS_LOAD_ENTRY, scratch, FORM_SCRATCH)
    MEMORY_ATOMICS(ATOMIC_ENTRY)
    {"buffer_wbl2", cache_control, CLASS_VMEM, 0},
    {"buffer_inv", cache_control, CLASS_VMEM, 0},
    {NULL, NULL, 0, 0},
};
