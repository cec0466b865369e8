/* How an operation reads its sources and writes its result: modifiers, SDWA, DPP and EXEC in one place.
 *
 * source32 gives 64 lanes; where the register can be used as it is, no copy is made. Float modifiers are applied by the
 * reader that knows the type (source_f32, source_f16, ...). DPP and SDWA apply to any of them.
 */
#ifndef OPERANDS_H
#define OPERANDS_H

#include "cdna.h"

/* Scalar reads, for the scalar unit. */
static inline uint32_t scalar32(const Wave *w, const Operand *o) {
    switch (o->kind) {
    case OPERAND_SGPR: return w->s[o->index];
    case OPERAND_SCC:
        return o->index == 0 ? w->scc : o->index == 1 ? sgpr64(w, SGPR_VCC) == 0 : exec_mask(w) == 0;
    default: return o->value;
    }
}

static inline uint64_t scalar64(const Wave *w, const Operand *o) {
    if (o->kind == OPERAND_SGPR) return sgpr64(w, o->index);
    if (o->kind == OPERAND_SCC) return scalar32(w, o);
    return (uint64_t)o->value_hi << 32 | o->value;
}

#endif
