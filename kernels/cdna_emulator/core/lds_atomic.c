/* Atomics of the LDS. Lanes take effect in their order. */
#include "lds.h"

INLINE Status atomic_address(Launch *launch, Wave *wave, const Insn *insn, uint32_t bytes, uint32_t address[LANES]) {
    find_address(wave, insn, (uint16_t)insn->imm, address);
    for (uint64_t rest = exec_mask(wave); rest; rest &= rest - 1) {
        uint32_t lane = (uint32_t)__builtin_ctzll(rest);
        if (address[lane] % bytes)
            return memory_fault(launch, wave, insn, STATUS_MISALIGNED, lane, address[lane], bytes, true,
                                "the LDS address is not a multiple of %u", bytes);
    }
    return lds_access(launch, wave, insn, address, bytes, WATCH_ATOMIC, BANKS_WRITE);
}

INLINE uint32_t operand32(const Wave *wave, const Operand *operand, uint32_t lane) {
    return operand->kind == OPERAND_VGPR ? wave->v[operand->index][lane] : 0;
}
INLINE uint64_t operand64(const Wave *wave, const Operand *operand, uint32_t lane) {
    if (operand->kind != OPERAND_VGPR) return 0;
    return (uint64_t)wave->v[operand->index + 1][lane] << 32 | wave->v[operand->index][lane];
}

#define WORD(bytes) WORD_##bytes
#define WORD_4 uint32_t
#define WORD_8 uint64_t
#define OPERAND(bytes) OPERAND_##bytes
#define OPERAND_4 operand32
#define OPERAND_8 operand64

#define DEFINE_ONE(name, bytes, expression, returns)                                                                   \
    Status lds_##name(Launch *launch, Wave *wave, const Insn *insn) {                                                  \
        uint32_t address[LANES];                                                                                       \
        Status status = atomic_address(launch, wave, insn, bytes, address);                                            \
        if (status != STATUS_OK) return status;                                                                        \
        for (uint64_t rest = exec_mask(wave); rest; rest &= rest - 1) {                                                \
            uint32_t lane = (uint32_t)__builtin_ctzll(rest);                                                           \
            uint8_t *at = wave->group->lds + address[lane];                                                            \
            WORD(bytes) old, a, b;                                                                                     \
            a = OPERAND(bytes)(wave, &insn->src[DS_DATA0], lane);                                                      \
            b = OPERAND(bytes)(wave, &insn->src[DS_DATA1], lane);                                                      \
            memcpy(&old, at, bytes);                                                                                   \
            WORD(bytes) result = expression;                                                                           \
            memcpy(at, &result, bytes);                                                                                \
            if (!(returns)) continue;                                                                                  \
            wave->v[insn->dst.index][lane] = (uint32_t)old;                                                            \
            if (bytes == 8) wave->v[insn->dst.index + 1][lane] = (uint32_t)((uint64_t)old >> 32);                      \
        }                                                                                                              \
        return lds_written(launch, wave, insn);                                                                        \
    }
#define DEFINE_LDS_ATOMIC(name, returning, bytes, expression)                                                          \
    DEFINE_ONE(name, bytes, expression, false)                                                                         \
    DEFINE_ONE(returning, bytes, expression, true)
LDS_ATOMICS(DEFINE_LDS_ATOMIC)
