/* Atomics of global, flat and buffer instructions. Lanes take effect in their order, so results are the same each run. */
#include "atomics.h"
#include "global.h"

/* Finds and checks the lanes' places; an atomic off its natural alignment is a memory violation on the card. */
static Status atomic_places(Launch *launch, Wave *wave, const Insn *insn, Form form, uint32_t bytes, Places *places) {
    Status status = find_places(launch, wave, insn, form, bytes, true, places);
    if (status != STATUS_OK) return status;
    for (uint64_t rest = places->mask; rest; rest &= rest - 1) {
        uint32_t lane = (uint32_t)__builtin_ctzll(rest);
        if (places->address[lane] % bytes)
            return memory_fault(launch, wave, insn, STATUS_MISALIGNED, lane, places->address[lane], bytes, true,
                                "the address is not a multiple of %u", bytes);
    }
    return memory_touch(launch, wave, insn, places->address, places->mask, bytes, ACCESS_ATOMIC);
}

INLINE uint64_t data64(const Wave *wave, uint32_t vgpr, uint32_t lane) {
    return (uint64_t)wave->v[vgpr + 1][lane] << 32 | wave->v[vgpr][lane];
}

/* The value before goes back with FLAG_RETURN; to a buffer lane out of range, 0. */
#define DEFINE_FORM(form, FORM, name, bytes, operands, expression)                                                     \
    Status form##_atomic_##name(Launch *launch, Wave *wave, const Insn *insn) {                                        \
        Places places;                                                                                                 \
        Status status = atomic_places(launch, wave, insn, FORM, bytes, &places);                                       \
        if (status != STATUS_OK) return status;                                                                        \
        uint32_t data = insn->src[SOURCE_DATA].index;                                                                  \
        for (uint64_t rest = exec_mask(wave); rest; rest &= rest - 1) {                                                \
            uint32_t lane = (uint32_t)__builtin_ctzll(rest);                                                           \
            void *at = (void *)(uintptr_t)places.address[lane];                                                        \
            WORD(bytes) old = 0;                                                                                       \
            if (places.mask >> lane & 1) {                                                                             \
                WORD(bytes) a = DATA(bytes)(wave, data, lane), b = 0;                                                  \
                if (operands == 2) b = DATA(bytes)(wave, data + bytes / 4, lane);                                      \
                memcpy(&old, at, bytes);                                                                               \
                WORD(bytes) result = expression;                                                                       \
                memcpy(at, &result, bytes);                                                                            \
                (void)b;                                                                                               \
            }                                                                                                          \
            if (!(insn->flags & FLAG_RETURN)) continue;                                                                \
            wave->v[insn->dst.index][lane] = (uint32_t)old;                                                            \
            if (bytes == 8) wave->v[insn->dst.index + 1][lane] = (uint32_t)((uint64_t)old >> 32);                      \
        }                                                                                                              \
        return STATUS_OK;                                                                                              \
    }

INLINE uint32_t data32(const Wave *wave, uint32_t vgpr, uint32_t lane) { return wave->v[vgpr][lane]; }

#define WORD(bytes) WORD_##bytes
#define WORD_4 uint32_t
#define WORD_8 uint64_t
#define DATA(bytes) DATA_##bytes
#define DATA_4 data32
#define DATA_8 data64

#define DEFINE_MEMORY_ATOMIC(name, bytes, operands, expression)                                                        \
    DEFINE_FORM(global, FORM_GLOBAL, name, bytes, operands, expression)                                                \
    DEFINE_FORM(buffer, FORM_BUFFER, name, bytes, operands, expression)
MEMORY_ATOMICS(DEFINE_MEMORY_ATOMIC)
