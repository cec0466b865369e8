/* The general cases of operands.h: what an operand is once SDWA, DPP, modifiers and MODE have had their say. */
#include "half.h"

static void fill(uint32_t lanes[LANES], uint32_t value) {
    for (uint32_t i = 0; i < LANES; i++) lanes[i] = value;
}

/* ---- DPP ---------------------------------------------------------------------------------------------------- */

#define NOWHERE 255 /* outside of the row or the wave */
#define DPP_CONTROLS 512

/* The lane that lane i reads. Source: "AMD Instinct MI300 Instruction Set Architecture", Data Parallel Processing. */
static uint32_t dpp_lane(uint32_t control, uint32_t i) {
    const uint32_t row = i & ~15u, n = control & 15;
    if (control <= 0xFF) return (i & ~3u) | (control >> 2 * (i & 3) & 3); /* quad_perm */
    switch (control >> 4) {
    case 0x10: return (i & 15) + n < 16 ? i + n : NOWHERE; /* row_shl */
    case 0x11: return (i & 15) >= n ? i - n : NOWHERE;     /* row_shr */
    case 0x12: return row | ((i - n) & 15);                /* row_ror */
    case 0x15: return row | n;                             /* row_newbcast */
    default: break;
    }
    switch (control) {
    case 0x130: return i < 63 ? i + 1 : NOWHERE;   /* wave_shl */
    case 0x134: return (i + 1) & 63;               /* wave_rol */
    case 0x138: return i > 0 ? i - 1 : NOWHERE;    /* wave_shr */
    case 0x13C: return (i - 1) & 63;               /* wave_ror */
    case 0x140: return i ^ 15;                     /* row_mirror */
    case 0x141: return i ^ 7;                      /* row_half_mirror */
    case 0x142: return i < 16 ? NOWHERE : row - 1; /* row_bcast:15 */
    case 0x143: return i < 32 ? NOWHERE : 31;      /* row_bcast:31 */
    default: return NOWHERE;                       /* decode.py lets no other through */
    }
}

typedef struct {
    uint8_t from[LANES]; /* 0 where there is nothing to read */
    uint64_t inside;     /* the lanes for which there is */
} DppMove;
static DppMove dpp_moves[DPP_CONTROLS];

/* When the library is loaded, so that threads find it done. */
__attribute__((constructor)) static void fill_dpp_moves(void) {
    for (uint32_t control = 0; control < DPP_CONTROLS; control++) {
        for (uint32_t i = 0; i < LANES; i++) {
            const uint32_t lane = dpp_lane(control, i);
            dpp_moves[control].from[i] = lane == NOWHERE ? 0 : (uint8_t)lane;
            dpp_moves[control].inside |= (uint64_t)(lane != NOWHERE) << i;
        }
    }
}

/* The lanes that have something to read: a lane that EXEC turns off is as good as one outside. */
static uint64_t dpp_valid(const DppMove *move, uint64_t exec) {
    if (exec == UINT64_MAX) return move->inside;
    uint64_t valid = 0;
    for (uint32_t i = 0; i < LANES; i++) valid |= (exec >> move->from[i] & 1) << i;
    return valid & move->inside;
}

static void move_lanes(const Insn *insn, uint64_t exec, const uint32_t *from, uint32_t to[LANES]) {
    const DppMove *move = &dpp_moves[insn->dpp % DPP_CONTROLS];
    const uint64_t valid = dpp_valid(move, exec);
    uint32_t mask[LANES];
    spread_mask(valid, mask);
    uint32_t moved[LANES];
    for (uint32_t i = 0; i < LANES; i++) moved[i] = from[move->from[i]];
    FOR_LANES(i) to[i] = moved[i] & mask[i];
}

/* Bits of the rows and of the banks within them. */
static uint64_t dpp_wanted(const Insn *insn) {
    uint64_t banks = 0, lanes = 0;
    for (uint32_t n = 0; n < 4; n++) banks |= (uint64_t)(insn->bank_mask >> n & 1) * 0xF << 4 * n;
    for (uint32_t n = 0; n < 4; n++) lanes |= (insn->row_mask >> n & 1) * banks << 16 * n;
    return lanes;
}

uint64_t written_lanes(const Wave *w, const Insn *insn) {
    const uint64_t exec = exec_mask(w);
    if (!(insn->flags & FLAG_DPP)) return exec;
    const uint64_t valid = dpp_valid(&dpp_moves[insn->dpp % DPP_CONTROLS], exec);
    return (insn->flags & FLAG_DPP_BOUND_CTRL ? UINT64_MAX : valid) & dpp_wanted(insn) & exec;
}

/* ---- sources ------------------------------------------------------------------------------------------------ */

static void select_part(const Operand *o, const uint32_t *from, uint32_t to[LANES]) {
    if (o->select == SELECT_DWORD) {
        memmove(to, from, sizeof(uint32_t) * LANES);
        return;
    }
    const uint32_t bits = o->select < SELECT_WORD0 ? 8 : 16;
    const uint32_t shift = o->select < SELECT_WORD0 ? 8u * o->select : 16u * (o->select - SELECT_WORD0);
    const uint32_t up = 32 - bits;
    if (o->modifiers & MODIFIER_SEXT)
        FOR_LANES(i) to[i] = (uint32_t)((int32_t)(from[i] >> shift << up) >> up);
    else
        FOR_LANES(i) to[i] = from[i] >> shift << up >> up;
}

const uint32_t *source_word_moved(const Wave *w, const Insn *insn, uint32_t n, uint32_t word, uint32_t buffer[LANES]) {
    const Operand *o = &insn->src[n];
    const uint32_t *lanes = buffer;
    switch (o->kind) {
    case OPERAND_VGPR: lanes = w->v[o->index + word]; break;
    case OPERAND_SGPR: fill(buffer, w->s[o->index + word]); break;
    case OPERAND_CONSTANT: fill(buffer, word ? o->value_hi : o->value); break;
    default: fill(buffer, word ? 0 : scalar32(w, o)); break;
    }
    if (insn->flags & FLAG_DPP && n == 0) {
        move_lanes(insn, exec_mask(w), lanes, buffer);
        return buffer;
    }
    if (insn->flags & FLAG_SDWA && o->select != SELECT_DWORD) {
        select_part(o, lanes, buffer);
        return buffer;
    }
    return lanes;
}

const uint32_t *modified_source(const uint32_t *lanes, uint32_t modifiers, bool flush, uint32_t sign,
                                uint32_t exponent, uint32_t buffer[LANES]) {
    const uint32_t keep = (sign | (sign - 1)) & (modifiers & MODIFIER_ABS ? ~sign : ~0u);
    const uint32_t change = modifiers & MODIFIER_NEG ? sign : 0;
    FOR_LANES(i) {
        const uint32_t value = (lanes[i] & keep) ^ change;
        buffer[i] = flush && !(value & exponent) ? value & sign : value;
    }
    return buffer;
}

Pair modified_f64(Pair lanes, uint32_t modifiers, bool flush, uint32_t buffer[2][LANES]) {
    const uint32_t keep = modifiers & MODIFIER_ABS ? 0x7FFFFFFF : ~0u;
    const uint32_t change = modifiers & MODIFIER_NEG ? 0x80000000 : 0;
    FOR_LANES(i) {
        const uint32_t high = (lanes.high[i] & keep) ^ change;
        const bool zero = flush && !(high & 0x7FF00000);
        buffer[0][i] = zero ? 0 : lanes.low[i];
        buffer[1][i] = zero ? high & 0x80000000 : high;
    }
    return (Pair){buffer[0], buffer[1]};
}

/* ---- results ------------------------------------------------------------------------------------------------ */

static void blend(uint32_t *to, const uint32_t *lanes, uint64_t mask) {
    const uint32_t low = (uint32_t)mask, high = (uint32_t)(mask >> 32);
    LANES_ARE_INDEPENDENT
    for (uint32_t i = 0; i < 32; i++) to[i] = low >> i & 1 ? lanes[i] : to[i];
    LANES_ARE_INDEPENDENT
    for (uint32_t i = 0; i < 32; i++) to[32 + i] = high >> i & 1 ? lanes[32 + i] : to[32 + i];
}

/* The part of the destination that SDWA writes; the rest is kept, sign-extended or zero. */
static void place_part(const Wave *w, const Insn *insn, const uint32_t *lanes, uint32_t to[LANES]) {
    const uint32_t select = insn->dst.select, *old = w->v[insn->dst.index];
    const uint32_t bits = select < SELECT_WORD0 ? 8 : 16;
    const uint32_t shift = select < SELECT_WORD0 ? 8 * select : 16 * (select - SELECT_WORD0);
    const uint32_t part = ((1u << bits) - 1) << shift;
    for (uint32_t i = 0; i < LANES; i++) {
        const uint32_t value = lanes[i] << shift & part;
        if (insn->flags & FLAG_SDWA_PRESERVE)
            to[i] = value | (old[i] & ~part);
        else if (insn->flags & FLAG_SDWA_SEXT)
            to[i] = (uint32_t)((int32_t)(value << (32 - bits - shift)) >> (32 - bits - shift));
        else
            to[i] = value;
    }
}

void put32(Wave *w, const Insn *insn, const uint32_t *lanes) {
    uint32_t placed[LANES];
    if (insn->flags & FLAG_SDWA && insn->dst.select != SELECT_DWORD) {
        place_part(w, insn, lanes, placed);
        lanes = placed;
    }
    blend(w->v[insn->dst.index], lanes, written_lanes(w, insn));
}

void put64(Wave *w, const Insn *insn, const uint32_t *low, const uint32_t *high) {
    const uint64_t mask = written_lanes(w, insn);
    blend(w->v[insn->dst.index], low, mask);
    blend(w->v[insn->dst.index + 1], high, mask);
}

void put16(Wave *w, const Insn *insn, const uint32_t *lanes, HalfRule rule) {
    uint32_t whole[LANES];
    const uint32_t *old = w->v[insn->dst.index];
    if (insn->flags & FLAG_OPSEL_DST)
        FOR_LANES(i) whole[i] = lanes[i] << 16 | (old[i] & 0xFFFF);
    else if (rule == HALF_KEEPS)
        FOR_LANES(i) whole[i] = (lanes[i] & 0xFFFF) | (old[i] & 0xFFFF0000);
    else
        FOR_LANES(i) whole[i] = lanes[i] & 0xFFFF;
    put32(w, insn, whole);
}

/* Output modifiers are ignored with MODE.IEEE and where denormal results are kept; with one, -0 becomes +0. */
static double output_factor(const Wave *w, const Insn *insn, uint32_t denormals) {
    if (w->mode & MODE_IEEE || w->mode & denormals) return 0;
    if (insn->flags & FLAG_OMOD_X2) return 2;
    if (insn->flags & FLAG_OMOD_X4) return 4;
    return insn->flags & FLAG_OMOD_HALF ? 0.5 : 0;
}

void finish_f32(const Wave *w, const Insn *insn, uint32_t *lanes) {
    if (!(w->mode & MODE_DENORMALS_OUT_F32)) modified_source(lanes, 0, true, 0x80000000, 0x7F800000, lanes);
    if (!(insn->flags & FLAG_CLAMP)) return;
    const bool keep_nan = !(w->mode & MODE_DX10_CLAMP);
    FOR_LANES(i) {
        const float x = as_f32(lanes[i]), upper = x > 1 ? 1 : x;
        lanes[i] = as_u32(x > 0 || (x != x && keep_nan) ? upper : 0);
    }
}

void finish_f16(const Wave *w, const Insn *insn, uint32_t *lanes) {
    if (!(w->mode & MODE_DENORMALS_OUT_F16_F64)) modified_source(lanes, 0, true, 0x8000, 0x7C00, lanes);
    if (!(insn->flags & FLAG_CLAMP)) return;
    const bool keep_nan = !(w->mode & MODE_DX10_CLAMP);
    FOR_LANES(i) {
        const float x = half_to_f32(lanes[i]), upper = x > 1 ? 1 : x;
        lanes[i] = x > 0 || (x != x && keep_nan) ? f32_to_half(upper) : 0;
    }
}

void put_f32(Wave *w, const Insn *insn, uint32_t *lanes) {
    const float factor = (float)output_factor(w, insn, MODE_DENORMALS_OUT_F32);
    if (factor != 0) FOR_LANES(i) lanes[i] = as_u32(as_f32(lanes[i]) * factor + 0.0f);
    finish_f32(w, insn, lanes);
    put32(w, insn, lanes);
}

void put_f16(Wave *w, const Insn *insn, uint32_t *lanes, HalfRule rule) {
    const float factor = (float)output_factor(w, insn, MODE_DENORMALS_OUT_F16_F64);
    if (factor != 0) FOR_LANES(i) lanes[i] = f32_to_half(half_to_f32(lanes[i]) * factor + 0.0f);
    finish_f16(w, insn, lanes);
    put16(w, insn, lanes, rule);
}

void put_f64(Wave *w, const Insn *insn, uint32_t *low, uint32_t *high) {
    const double factor = output_factor(w, insn, MODE_DENORMALS_OUT_F16_F64);
    const bool flush = !(w->mode & MODE_DENORMALS_OUT_F16_F64);
    for (uint32_t i = 0; i < LANES; i++) {
        double x = as_f64(join(low[i], high[i]));
        if (factor != 0) x = x * factor + 0.0;
        if (flush && !(as_u64(x) >> 52 & 0x7FF)) x = as_f64(as_u64(x) >> 63 << 63);
        if (insn->flags & FLAG_CLAMP) {
            if (x > 1) x = 1;
            if (x <= 0 || (x != x && w->mode & MODE_DX10_CLAMP)) x = 0;
        }
        low[i] = (uint32_t)as_u64(x);
        high[i] = (uint32_t)(as_u64(x) >> 32);
    }
    put64(w, insn, low, high);
}
