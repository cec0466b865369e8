/* VOPC: comparisons and classes, into a mask. v_cmpx also makes the mask EXEC. */
#include "half.h"
#include "vector.h"

/* `lanes` hold all ones where the condition is true. */
static Status write_condition(Wave *w, const Insn *insn, const uint32_t lanes[LANES], bool to_exec) {
    write_mask(w, insn, &insn->dst, lanes);
    if (to_exec) set_sgpr64(w, SGPR_EXEC, sgpr64(w, insn->dst.index));
    return STATUS_OK;
}

/* With a NaN every order is false, and its negation true. */
#define INTEGER_CONDITIONS(X, TYPE)                                                                                    \
    X(f, TYPE, false)                                                                                                  \
    X(lt, TYPE, a < b)                                                                                                 \
    X(eq, TYPE, a == b)                                                                                                \
    X(le, TYPE, a <= b)                                                                                                \
    X(gt, TYPE, a > b)                                                                                                 \
    X(ne, TYPE, a != b)                                                                                                \
    X(ge, TYPE, a >= b)                                                                                                \
    X(t, TYPE, true)
#define FLOAT_CONDITIONS(X, TYPE)                                                                                      \
    X(f, TYPE, false)                                                                                                  \
    X(lt, TYPE, a < b)                                                                                                 \
    X(eq, TYPE, a == b)                                                                                                \
    X(le, TYPE, a <= b)                                                                                                \
    X(gt, TYPE, a > b)                                                                                                 \
    X(lg, TYPE, (a < b) | (a > b))                                                                                     \
    X(ge, TYPE, a >= b)                                                                                                \
    X(o, TYPE, (a == a) & (b == b))                                                                                    \
    X(u, TYPE, (a != a) | (b != b))                                                                                    \
    X(nge, TYPE, !(a >= b))                                                                                            \
    X(nlg, TYPE, !((a < b) | (a > b)))                                                                                 \
    X(ngt, TYPE, !(a > b))                                                                                             \
    X(nle, TYPE, !(a <= b))                                                                                            \
    X(neq, TYPE, !(a == b))                                                                                            \
    X(nlt, TYPE, !(a < b))                                                                                             \
    X(tru, TYPE, true)

/* How each type is read into a and b. */
VECTOR_INLINE uint16_t to_u16(uint32_t bits) { return (uint16_t)bits; }
VECTOR_INLINE int16_t to_i16(uint32_t bits) { return (int16_t)bits; }
#define READ_u16 uint32_t space[2][LANES]; SOURCES_2(source16)
#define READ_i16 READ_u16
#define READ_f16 uint32_t space[2][LANES]; SOURCES_2(source_f16)
#define READ_u32 uint32_t space[2][LANES]; SOURCES_2(source32)
#define READ_i32 READ_u32
#define READ_f32 uint32_t space[2][LANES]; SOURCES_2(source_f32)
#define READ_u64 uint32_t space[2][2][LANES]; PAIRS_2(source64)
#define READ_i64 READ_u64
#define READ_f64 uint32_t space[2][2][LANES]; PAIRS_2(source_f64)
#define LANE_u16 LANE_2(uint16_t, to_u16)
#define LANE_i16 LANE_2(int16_t, to_i16)
#define LANE_f16 LANE_2(float, half_to_f32)
#define LANE_u32 LANE_2(uint32_t, )
#define LANE_i32 LANE_2(int32_t, (int32_t))
#define LANE_f32 LANE_2(float, as_f32)
#define LANE_u64 LANE64_2(uint64_t, )
#define LANE_i64 LANE64_2(int64_t, (int64_t))
#define LANE_f64 LANE64_2(double, as_f64)

#define DEFINE_CONDITION(name, TYPE, condition)                                                                        \
    static void lanes_##name##_##TYPE(const Wave *w, const Insn *insn, uint32_t lanes[LANES]) {                        \
        READ_##TYPE FOR_LANES(i) {                                                                                     \
            LANE_##TYPE(void) a, (void)b;                                                                              \
            lanes[i] = (condition) ? ~0u : 0;                                                                          \
        }                                                                                                              \
    }                                                                                                                  \
    OPERATION(v_cmp_##name##_##TYPE) {                                                                                 \
        (void)launch;                                                                                                  \
        uint32_t lanes[LANES];                                                                                         \
        lanes_##name##_##TYPE(w, insn, lanes);                                                                         \
        return write_condition(w, insn, lanes, false);                                                                 \
    }                                                                                                                  \
    OPERATION(v_cmpx_##name##_##TYPE) {                                                                                \
        (void)launch;                                                                                                  \
        uint32_t lanes[LANES];                                                                                         \
        lanes_##name##_##TYPE(w, insn, lanes);                                                                         \
        return write_condition(w, insn, lanes, true);                                                                  \
    }
#define INTEGERS(X)                                                                                                    \
    INTEGER_CONDITIONS(X, i16)                                                                                         \
    INTEGER_CONDITIONS(X, u16)                                                                                         \
    INTEGER_CONDITIONS(X, i32)                                                                                         \
    INTEGER_CONDITIONS(X, u32)                                                                                         \
    INTEGER_CONDITIONS(X, i64)                                                                                         \
    INTEGER_CONDITIONS(X, u64)
#define FLOATS(X)                                                                                                      \
    FLOAT_CONDITIONS(X, f16)                                                                                           \
    FLOAT_CONDITIONS(X, f32)                                                                                           \
    FLOAT_CONDITIONS(X, f64)
INTEGERS(DEFINE_CONDITION)
FLOATS(DEFINE_CONDITION)

/* ---- classes ------------------------------------------------------------------------------------------------ */

/* The bit of v_cmp_class' mask that a number of this class is asked by. */
static uint32_t class_bit(bool negative, bool top_exponent, bool no_exponent, bool no_fraction, bool quiet) {
    if (top_exponent) return no_fraction ? (negative ? 2 : 9) : quiet;
    if (!no_exponent) return negative ? 3 : 8;
    return no_fraction ? (negative ? 5 : 6) : negative ? 4 : 7;
}
static uint32_t class_f16(uint32_t bits) {
    return class_bit(bits >> 15 & 1, (bits & 0x7C00) == 0x7C00, !(bits & 0x7C00), !(bits & 0x3FF), bits >> 9 & 1);
}
static uint32_t class_f32(uint32_t bits) {
    return class_bit(bits >> 31, (bits & 0x7F800000) == 0x7F800000, !(bits & 0x7F800000), !(bits & 0x7FFFFF),
                     bits >> 22 & 1);
}
static uint32_t class_f64(uint64_t bits) {
    const uint64_t exponent = bits >> 52 & 0x7FF;
    return class_bit(bits >> 63, exponent == 0x7FF, !exponent, !(bits << 12), bits >> 51 & 1);
}

/* The second source is a mask of 32 bits (16 for f16, of which ten count). Denormals are never flushed here: they are
 * a class of their own. */
static const uint32_t *class_source(const Wave *w, const Insn *insn, uint32_t sign, uint32_t *buffer) {
    const uint32_t *lanes = source16(w, insn, 0, buffer);
    return modified_source(lanes, insn->src[0].modifiers, false, sign, 0, buffer);
}
static void lanes_class_f16(const Wave *w, const Insn *insn, uint32_t lanes[LANES]) {
    uint32_t space[2][LANES];
    const uint32_t *x = class_source(w, insn, 0x8000, space[0]), *mask = source16(w, insn, 1, space[1]);
    for (uint32_t i = 0; i < LANES; i++) lanes[i] = -(mask[i] >> class_f16(x[i]) & 1);
}
static void lanes_class_f32(const Wave *w, const Insn *insn, uint32_t lanes[LANES]) {
    uint32_t space[2][LANES];
    const uint32_t *x = source_signed32(w, insn, 0, space[0]), *mask = source32(w, insn, 1, space[1]);
    for (uint32_t i = 0; i < LANES; i++) lanes[i] = -(mask[i] >> class_f32(x[i]) & 1);
}
static void lanes_class_f64(const Wave *w, const Insn *insn, uint32_t lanes[LANES]) {
    uint32_t space[2][LANES], masks[LANES];
    const Pair x = modified_f64(source64(w, insn, 0, space), insn->src[0].modifiers, false, space);
    const uint32_t *mask = source32(w, insn, 1, masks);
    for (uint32_t i = 0; i < LANES; i++) lanes[i] = -(mask[i] >> class_f64(join(x.low[i], x.high[i])) & 1);
}
#define DEFINE_CLASS(TYPE)                                                                                             \
    OPERATION(v_cmp_class_##TYPE) {                                                                                    \
        (void)launch;                                                                                                  \
        uint32_t lanes[LANES];                                                                                         \
        lanes_class_##TYPE(w, insn, lanes);                                                                            \
        return write_condition(w, insn, lanes, false);                                                                 \
    }                                                                                                                  \
    OPERATION(v_cmpx_class_##TYPE) {                                                                                   \
        (void)launch;                                                                                                  \
        uint32_t lanes[LANES];                                                                                         \
        lanes_class_##TYPE(w, insn, lanes);                                                                            \
        return write_condition(w, insn, lanes, true);                                                                  \
    }
DEFINE_CLASS(f16)
DEFINE_CLASS(f32)
DEFINE_CLASS(f64)

#define INTEGER_ROW(name, TYPE, condition)                                                                             \
    ENTRY(v_cmp_##name##_##TYPE, ALLOWS_SDWA) ENTRY(v_cmpx_##name##_##TYPE, ALLOWS_SDWA)
#define FLOAT_ROW(name, TYPE, condition)                                                                               \
    ENTRY(v_cmp_##name##_##TYPE, ALLOWS_SDWA | ALLOWS_NEG_ABS)                                                         \
    ENTRY(v_cmpx_##name##_##TYPE, ALLOWS_SDWA | ALLOWS_NEG_ABS)
#define CLASS_ROW(TYPE) FLOAT_ROW(class, TYPE, )
const OperationEntry COMPARE_OPERATIONS[] = {
    INTEGERS(INTEGER_ROW) FLOATS(FLOAT_ROW) CLASS_ROW(f16) CLASS_ROW(f32) CLASS_ROW(f64)
    {NULL, NULL, 0, 0},
};
