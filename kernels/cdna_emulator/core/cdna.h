/* The machine: what an instruction is once decoded, what a wave holds, and how an operation reads and writes.
 *
 * Python decodes a code object into an array of `Insn` (cdna_emulator/decode.py fills it, field for field) and calls
 * `cdna_run`. Each operation is one function of the type `Operation`, found by its mnemonic in the tables at the end.
 * Wave64 only: every lane array has 64 entries. Sources: "AMD Instinct MI300 Instruction Set Architecture" (CDNA3) and
 * "AMD Instinct CDNA4 Instruction Set Architecture".
 */
#ifndef CDNA_H
#define CDNA_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define LANES 64
#define MAX_SOURCES 6
#define FIRST_AGPR 256 /* in Wave.v: 0..255 are VGPRs, 256..511 accumulation VGPRs */
#define SGPR_VCC 106
#define SGPR_M0 124
#define SGPR_EXEC 126

typedef enum { GFX942 = 942, GFX950 = 950 } Arch;

/* ---- instructions ------------------------------------------------------------------------------------------- */

typedef enum {
    OPERAND_NONE = 0,
    OPERAND_VGPR,     /* index 0..511, AGPRs from FIRST_AGPR on */
    OPERAND_SGPR,     /* index 0..127; VCC 106, M0 124, EXEC 126 are ordinary indices here */
    OPERAND_CONSTANT, /* inline constant or literal: value, value_hi */
    OPERAND_SCC,      /* also reads EXECZ, VCCZ: index 0 SCC, 1 VCCZ, 2 EXECZ */
} OperandKind;

enum { /* Operand.modifiers */
    MODIFIER_NEG = 1,     /* negate (VOP3, SDWA, DPP; VOP3P: the low half) */
    MODIFIER_ABS = 2,     /* absolute value, before the negation */
    MODIFIER_SEXT = 4,    /* SDWA: sign-extend the selected part */
    MODIFIER_NEG_HI = 8,  /* VOP3P: negate what the high half reads */
    MODIFIER_OPSEL = 16,  /* VOP3: read bits 31:16; VOP3P: the low half reads bits 31:16 (second register of packed fp32) */
    MODIFIER_OPSEL_HI = 32, /* VOP3P: the high half reads bits 31:16 (second register of packed fp32) */
};

enum { /* Operand.select: SDWA */
    SELECT_BYTE0 = 0,
    SELECT_BYTE1,
    SELECT_BYTE2,
    SELECT_BYTE3,
    SELECT_WORD0,
    SELECT_WORD1,
    SELECT_DWORD, /* the whole register; what every operand without SDWA has */
};

typedef struct {
    uint8_t kind;      /* OperandKind */
    uint8_t modifiers; /* MODIFIER_* */
    uint8_t select;    /* SELECT_* */
    uint8_t dwords;    /* registers that the operation reads or writes here; 1 for 16 and 32 bits, 2 for 64 bits ... */
    uint32_t index;    /* of the first register */
    uint32_t value;    /* of a constant, as a 32-bit operand of this operation reads it */
    uint32_t value_hi; /* its upper half, as a 64-bit operand of this operation reads it (integers sign-extended) */
} Operand;             /* 16 bytes */

enum { /* Insn.flags */
    FLAG_CLAMP = 1,
    FLAG_DPP = 2,
    FLAG_SDWA = 4,
    FLAG_DPP_BOUND_CTRL = 8,
    FLAG_OMOD_X2 = 16, /* output modifier: times 2 */
    FLAG_OMOD_X4 = 32,
    FLAG_OMOD_HALF = 64,
    FLAG_OPSEL_DST = 128, /* VOP3 op_sel[3]: write bits 31:16 of the destination, keep the rest */
    FLAG_LDS = 256,       /* MUBUF: the data goes to LDS */
    FLAG_OFFEN = 512,
    FLAG_IDXEN = 1024,
    FLAG_RETURN = 2048,   /* atomics: sc0, return the value before */
    FLAG_SDWA_PRESERVE = 4096, /* SDWA dst_unused = UNUSED_PRESERVE; without it and with FLAG_SDWA_SEXT: UNUSED_SEXT; else pad 0 */
    FLAG_SDWA_SEXT = 8192,
    FLAG_ALL_LANES = 16384, /* executes with EXEC ignored (v_readlane, MFMA ...): set by the operation's table entry */
};

typedef struct {
    uint16_t operation; /* index into the joint table, see cdna_operation_name */
    uint8_t sources;    /* how many of src are filled */
    uint8_t size;       /* bytes in the code */
    uint32_t flags;     /* FLAG_* */
    uint32_t pc;        /* byte offset from the start of the text section */
    int32_t imm;        /* SOPK/SOPP: simm16 sign-extended; memory: signed byte offset; DS: offset0 | offset1 << 8 */
    int32_t target;     /* branches: index of the instruction jumped to; else -1 */
    uint16_t dpp;       /* DPP control word, 9 bits as encoded */
    uint8_t row_mask;   /* DPP */
    uint8_t bank_mask;  /* DPP */
    uint32_t extra;     /* cbsz | abid << 3 | blgp << 7 (MFMA); bitop3 table; VOP3 else: op_sel as encoded, 4 bits;
                         * s_setreg hwreg field; s_waitcnt word */
    uint32_t reserved;
    Operand dst;        /* vdst / sdst / vdata of a load; VOPC writes SGPR pairs here */
    Operand dst2;       /* the second destination: carry-out, v_div_scale's VCC; SDWA's VOPC sdst is dst */
    Operand src[MAX_SOURCES];
    /* Order of src: as the ISA names them: src0, src1, src2 (VCC carry-in as src2; MFMA: A, B, C, scale A, scale B;
     * v_cndmask: the mask is src2; v_fmac/v_mac/v_dot2c: the destination read again is src2; v_fmaak and v_fmamk are
     * both D = src0 * src1 + src2). SOPK that reads its register (s_cmpk, s_addk, s_mulk, s_setreg) has it as src0;
     * s_setreg_imm32 has its literal there. Memory: address, data, base (saddr / srsrc), soffset; absent ones are
     * OPERAND_NONE; loads to LDS have no dst. DS: address, data0, data1. SMEM: base, soffset. */
} Insn;

_Static_assert(sizeof(Operand) == 16, "decode.py mirrors this layout");
_Static_assert(sizeof(Insn) == 32 + 8 * 16, "decode.py mirrors this layout");

/* ---- state -------------------------------------------------------------------------------------------------- */

typedef struct Launch Launch;
typedef struct Group Group;

typedef struct {
    uint32_t (*v)[LANES];    /* registers: v[n] is register n of all lanes; 512 rows */
    uint32_t s[128];         /* scalar registers; s[106..107] VCC, s[124] M0, s[126..127] EXEC */
    uint32_t scc;
    uint32_t mode;           /* HW_REG_MODE; bit 23 FP16_OVFL: conversions to fp8 saturate */
    uint32_t pc;             /* index of the next instruction */
    uint32_t number;         /* of this wave in its workgroup */
    bool done, at_barrier;
    Group *group;
    uint8_t *scratch;        /* [LANES][launch->scratch_bytes] */
    void *pending;           /* loads under way, kept by watch.c when waits are checked */
} Wave;

struct Group { /* a workgroup under way */
    Launch *launch;
    uint32_t id[3];
    uint8_t *lds;            /* launch->lds_bytes */
    void *shadow;            /* who touched which LDS byte, kept by watch.c when anything is checked */
    uint32_t epoch;          /* barriers passed */
    uint32_t waves;
    Wave *wave;
};

typedef struct { /* memory that a kernel may touch; sorted by lo */
    uint64_t lo, hi;         /* addresses [lo, hi) of this process */
    uint8_t *written;        /* one byte per byte, 0 = never written; NULL: all of it is defined */
    uint64_t *lines;         /* bitmap of the 128-byte lines touched, counted from lo; NULL: not kept */
    uint64_t load_bytes, store_bytes; /* asked for by active lanes; atomics count in both */
} Allocation;

typedef enum { CLASS_VALU, CLASS_SALU, CLASS_VMEM, CLASS_LDS, CLASS_MFMA, CLASS_SMEM, CLASS_BRANCH, CLASS_BARRIER,
               CLASS_WAIT, CLASS_SCRATCH, CLASSES } OperationClass;

typedef struct { /* what a launch did; all deterministic */
    uint64_t by_class[CLASSES]; /* wave-instructions */
    uint64_t workgroups, waves;
    uint64_t mfma_flops;        /* issued: 2 M N K blocks each */
    uint64_t load_bytes, store_bytes, atomic_bytes; /* asked for by active lanes; global, buffer, flat */
    uint64_t instruction_lines; /* distinct 128-byte lines per instruction, summed */
    uint64_t lds_read_bytes, lds_write_bytes;
    uint64_t lds_bank_conflicts; /* extra cycles: sum over instructions of (largest number of distinct dwords in one bank, by group of lanes served together) - 1 */
    uint64_t barriers;          /* waves times barriers */
} Counters;

typedef enum { /* what a launch ended with */
    STATUS_OK = 0,
    STATUS_END,                 /* of an operation: s_endpgm */
    STATUS_BARRIER,             /* of an operation: s_barrier */
    STATUS_OUT_OF_BOUNDS,       /* address, lane, bytes in Launch.fault */
    STATUS_LDS_OUT_OF_BOUNDS,
    STATUS_UNDEFINED_READ,      /* memory or LDS never written (when checked) */
    STATUS_RACE,                /* two waves, one LDS byte, no barrier between (when checked) */
    STATUS_USE_BEFORE_WAIT,     /* a register read before the s_waitcnt of its load (when checked) */
    STATUS_UNSUPPORTED,         /* a form that decode.py could not exclude; `what` says it */
    STATUS_DEADLOCK,            /* a wave ended or spun while others wait at a barrier; or the instruction limit */
    STATUS_TRAP,                /* s_trap: a device-side assertion */
    STATUS_MISALIGNED,          /* an atomic that is not aligned to its size: a memory violation on the card */
} Status;

typedef struct {
    uint32_t instruction, lane, wave, group[3];
    uint64_t address;
    uint32_t bytes;
    uint32_t other_wave;        /* races */
    bool store;
    char what[160];
} Fault;

struct Launch {
    Arch arch;
    const Insn *code;
    uint32_t length, entry;     /* instructions; index of the first one */
    Allocation *allocation;
    uint32_t allocations;
    uint32_t lds_bytes, scratch_bytes;
    bool check_races, check_undefined, check_waits;
    uint64_t limit;             /* wave-instructions, 0: none */
    uint64_t *executed;         /* [length] times each instruction ran, or NULL */
    Counters counters;
    Fault fault;
    uint32_t hint;              /* index of the allocation found last; memory.h keeps it, start with 0 */
    uint64_t text;              /* address of the text section, as s_getpc_b64 shows it */
    uint64_t steps;             /* wave-instructions so far; the clock of s_memtime */
};

/* ---- operations --------------------------------------------------------------------------------------------- */

typedef Status (*Operation)(Launch *launch, Wave *wave, const Insn *insn);

enum { /* OperationEntry.allows: decode.py refuses what is not allowed */
    ALLOWS_NEG_ABS = 1,
    ALLOWS_CLAMP = 2,
    ALLOWS_OMOD = 4,
    ALLOWS_DPP = 8,
    ALLOWS_SDWA = 16,
    ALLOWS_OPSEL = 32,     /* VOP3 16-bit halves, or VOP3P op_sel/op_sel_hi/neg_lo/neg_hi */
    ALLOWS_EXTRA = 64,     /* MFMA cbsz/abid/blgp other than 0 */
};

typedef struct {
    const char *name;      /* mnemonic without _e32, _e64, _dpp, _sdwa */
    Operation run;
    uint8_t cls;           /* OperationClass */
    uint8_t allows;        /* ALLOWS_* */
} OperationEntry;

/* Each file ends with its table, closed by {NULL}. */
extern const OperationEntry SCALAR_OPERATIONS[], CONTROL_OPERATIONS[], SCALAR_MEMORY_OPERATIONS[],
    VECTOR_INT_OPERATIONS[], VECTOR_WIDE_OPERATIONS[], VECTOR_FLOAT_OPERATIONS[], VECTOR_HALF_OPERATIONS[],
    VECTOR_DOUBLE_OPERATIONS[], VECTOR_DIVISION_OPERATIONS[], VECTOR_MOVE_OPERATIONS[], COMPARE_OPERATIONS[],
    CONVERT_OPERATIONS[], PACKED_OPERATIONS[], DOT_OPERATIONS[], MATRIX_OPERATIONS[], GLOBAL_OPERATIONS[],
    LDS_OPERATIONS[];

/* Ends an operation with STATUS_UNSUPPORTED and a text. */
Status cdna_unsupported(Launch *launch, const Insn *insn, const char *format, ...);

/* ---- reading and writing (operands.h implements these inline) ------------------------------------------------ */

static inline uint64_t exec_mask(const Wave *w) { return (uint64_t)w->s[127] << 32 | w->s[126]; }
static inline uint64_t sgpr64(const Wave *w, uint32_t n) { return (uint64_t)w->s[n + 1] << 32 | w->s[n]; }
static inline void set_sgpr64(Wave *w, uint32_t n, uint64_t value) {
    w->s[n] = (uint32_t)value;
    w->s[n + 1] = (uint32_t)(value >> 32);
}

#endif
