/* What moves data and computes nothing: moves, selections, exchanges between lanes and with scalars. */
#include "vector.h"

OPERATION(v_nop) { return (void)launch, (void)w, (void)insn, STATUS_OK; }

OPERATION(v_mov_b32) {
    (void)launch;
    uint32_t space[2][LANES];
    const uint32_t *x = source32(w, insn, 0, space[0]);
    uint32_t *out = result32(w, insn, space[1]);
    memmove(out, x, sizeof space[0]);
    return write32(w, insn, out);
}

OPERATION(v_mov_b64) {
    (void)launch;
    uint32_t space[2][LANES];
    const Pair x = source64(w, insn, 0, space); /* pairs are aligned: they are the same or apart */
    put64(w, insn, x.low, x.high);
    return STATUS_OK;
}

OPERATION(v_cndmask_b32) {
    (void)launch;
    uint32_t space[3][LANES];
    SOURCES_2(source_signed32)
    uint32_t *out = result32(w, insn, space[2]);
    const uint64_t mask = scalar64(w, &insn->src[2]);
    const uint32_t low = (uint32_t)mask, high = (uint32_t)(mask >> 32);
    LANES_ARE_INDEPENDENT
    for (uint32_t i = 0; i < 32; i++) out[i] = low >> i & 1 ? y[i] : x[i];
    LANES_ARE_INDEPENDENT
    for (uint32_t i = 32; i < LANES; i++) out[i] = high >> (i - 32) & 1 ? y[i] : x[i];
    return write32(w, insn, out);
}

OPERATION(v_swap_b32) {
    if (insn->src[0].kind != OPERAND_VGPR) return cdna_unsupported(launch, insn, "a swap with what is no register");
    uint32_t *to = w->v[insn->dst.index], *from = w->v[insn->src[0].index];
    const uint64_t exec = exec_mask(w);
    for (uint32_t i = 0; i < LANES; i++) {
        if (!(exec >> i & 1)) continue;
        const uint32_t kept = to[i];
        to[i] = from[i];
        from[i] = kept;
    }
    return STATUS_OK;
}

/* ---- lanes and scalars -------------------------------------------------------------------------------------- */

static uint32_t lane_of(const Wave *w, const Operand *o, uint32_t lane) {
    return o->kind == OPERAND_VGPR ? w->v[o->index][lane] : scalar32(w, o);
}

OPERATION(v_readfirstlane_b32) {
    (void)launch;
    const uint64_t exec = exec_mask(w);
    w->s[insn->dst.index] = lane_of(w, &insn->src[0], exec ? (uint32_t)__builtin_ctzll(exec) : 0);
    return STATUS_OK;
}

OPERATION(v_readlane_b32) {
    (void)launch;
    w->s[insn->dst.index] = lane_of(w, &insn->src[0], scalar32(w, &insn->src[1]) & 63);
    return STATUS_OK;
}

OPERATION(v_writelane_b32) {
    (void)launch;
    w->v[insn->dst.index][scalar32(w, &insn->src[1]) & 63] = scalar32(w, &insn->src[0]);
    return STATUS_OK;
}

/* ---- exchanges between halves of the wave (gfx950) ---------------------------------------------------------- */

/* Lanes [from, from + count) of the source change places with lanes [to, to + count) of the destination. The
 * pseudocode leaves out what lanes that are off do, so they stop the launch. */
static Status exchange(Launch *launch, Wave *w, const Insn *insn, uint32_t count) {
    if (exec_mask(w) != UINT64_MAX || insn->src[0].kind != OPERAND_VGPR)
        return cdna_unsupported(launch, insn, "an exchange between lanes, some of them off");
    uint32_t *to = w->v[insn->dst.index], *from = w->v[insn->src[0].index];
    for (uint32_t first = 0; first < LANES; first += 2 * count) {
        uint32_t kept[LANES / 2];
        memcpy(kept, from + first, count * sizeof *kept);
        memcpy(from + first, to + first + count, count * sizeof *kept);
        memcpy(to + first + count, kept, count * sizeof *kept);
    }
    return STATUS_OK;
}

OPERATION(v_permlane16_swap_b32) { return exchange(launch, w, insn, 16); }
OPERATION(v_permlane32_swap_b32) { return exchange(launch, w, insn, 32); }

/* Accumulation registers are registers 256 and up here. */

const OperationEntry VECTOR_MOVE_OPERATIONS[] = {
    ENTRY(v_nop, 0)
    ENTRY(v_mov_b32, ALLOWS_MOVES)
    ENTRY(v_mov_b64, ALLOWS_DPP)
    ENTRY(v_cndmask_b32, ALLOWS_MOVES | ALLOWS_NEG_ABS)
    ENTRY(v_swap_b32, 0)
    ENTRY(v_readfirstlane_b32, 0)
    ENTRY(v_readlane_b32, 0)
    ENTRY(v_writelane_b32, 0)
    ENTRY(v_permlane16_swap_b32, 0)
    ENTRY(v_permlane32_swap_b32, 0)
    {"v_accvgpr_read_b32", v_mov_b32, CLASS_VALU, 0},
    {"v_accvgpr_write_b32", v_mov_b32, CLASS_VALU, 0},
    {"v_accvgpr_mov_b32", v_mov_b32, CLASS_VALU, 0},
    {NULL, NULL, 0, 0},
};
