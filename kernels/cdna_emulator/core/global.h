/* Where the lanes of a vector memory instruction point: global and flat, buffer, and scratch addresses. */
#ifndef GLOBAL_H
#define GLOBAL_H

#include "memory.h"
#include "operands.h"

/* Insn.src of a memory instruction. */
enum { SOURCE_ADDRESS, SOURCE_DATA, SOURCE_BASE, SOURCE_SOFFSET };

typedef enum { FORM_GLOBAL, FORM_BUFFER, FORM_SCRATCH } Form;

typedef struct {
    uint64_t address[LANES];
    uint64_t mask;    /* lanes that access memory with their whole width */
    uint64_t partial; /* buffers: lanes whose first dwords are in range and whose last ones are not */
    uint8_t dwords[LANES]; /* how many of them are in range; of partial lanes only */
} Places;

/* Fills `places` for an access of `bytes` bytes by the lanes in EXEC. Buffer lanes that are out of range appear in
 * neither mask. With `whole`, a lane that is partly out of range is out of range (atomics). */
Status find_places(Launch *launch, Wave *wave, const Insn *insn, Form form, uint32_t bytes, bool whole, Places *places);

/* Atomics of memory: X(name, bytes, operands, expression of the new value from the old one and the data a and b). */
#define MEMORY_ATOMICS(X)                                                                                              \
    MEMORY_INTEGER_ATOMICS(X, , 4, _32)                                                                                \
    MEMORY_INTEGER_ATOMICS(X, _x2, 8, _64)                                                                             \
    X(cmpswap, 4, 2, compare_32(old, b, a))                                                                            \
    X(cmpswap_x2, 8, 2, compare_64(old, b, a))                                                                         \
    X(add_f32, 4, 1, add_f32(old, a, b))                                                                               \
    X(pk_add_f16, 4, 1, pk_add_f16(old, a, b))                                                                         \
    X(pk_add_bf16, 4, 1, pk_add_bf16(old, a, b))                                                                       \
    X(add_f64, 8, 1, add_f64(old, a, b))                                                                               \
    X(min_f64, 8, 1, min_f64(old, a, b))                                                                               \
    X(max_f64, 8, 1, max_f64(old, a, b))

#define MEMORY_INTEGER_ATOMICS(X, suffix, bytes, width)                                                                \
    X(swap##suffix, bytes, 1, swap##width(old, a, b))                                                                  \
    X(add##suffix, bytes, 1, add##width(old, a, b))                                                                    \
    X(sub##suffix, bytes, 1, sub##width(old, a, b))                                                                    \
    X(smin##suffix, bytes, 1, smin##width(old, a, b))                                                                  \
    X(umin##suffix, bytes, 1, umin##width(old, a, b))                                                                  \
    X(smax##suffix, bytes, 1, smax##width(old, a, b))                                                                  \
    X(umax##suffix, bytes, 1, umax##width(old, a, b))                                                                  \
    X(and##suffix, bytes, 1, and##width(old, a, b))                                                                    \
    X(or##suffix, bytes, 1, or##width(old, a, b))                                                                      \
    X(xor##suffix, bytes, 1, xor##width(old, a, b))                                                                    \
    X(inc##suffix, bytes, 1, inc##width(old, a, b))                                                                    \
    X(dec##suffix, bytes, 1, dec##width(old, a, b))

#define DECLARE_MEMORY_ATOMIC(name, bytes, operands, expression)                                                       \
    Status global_atomic_##name(Launch *launch, Wave *wave, const Insn *insn);                                         \
    Status buffer_atomic_##name(Launch *launch, Wave *wave, const Insn *insn);
MEMORY_ATOMICS(DECLARE_MEMORY_ATOMIC)

#endif
