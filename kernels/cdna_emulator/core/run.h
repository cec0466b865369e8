/* What Python calls: the table of operations, and the execution of a launch. core.py mirrors the structures here. */
#ifndef RUN_H
#define RUN_H

#include "cdna.h"

#define MAX_USER_SGPRS 32
#define MAX_WAVES 32 /* of a workgroup: 1024 threads are 16 */

typedef enum { ORDER_FORWARD, ORDER_REVERSE, ORDER_SEEDED } Order;

typedef struct { /* where the waves of a launch start, and which of them run */
    uint32_t grid[3];           /* workgroups */
    uint32_t threads[3];        /* of a workgroup */
    const uint64_t *sample;     /* numbers (x fastest) of the workgroups to run, ascending; NULL: all of them */
    uint64_t samples;
    uint32_t order;             /* of workgroups, and of the waves of each between two barriers */
    uint32_t user_sgprs;        /* how many of user_sgpr are set, from s0 on */
    uint64_t seed;              /* ORDER_SEEDED: waves take turns of a few instructions, too */
    uint32_t user_sgpr[MAX_USER_SGPRS];
    uint32_t group_ids;         /* bits 0, 1, 2: the number of the workgroup in x, y, z follows the user SGPRs */
    uint32_t mode;              /* HW_REG_MODE */
    uint32_t vgprs, agprs;      /* how many of each the kernel may use */
    uint32_t fill;              /* what vector registers, scratch and LDS hold at first */
    uint32_t reserved;
} Start;

typedef struct { /* a workgroup whose whole state the caller gives and gets back: unit tests of instructions */
    uint32_t waves, mode, order, reserved;
    uint64_t seed;
    uint32_t (*v)[512][LANES];  /* [waves] */
    uint32_t (*s)[128];         /* [waves] */
    uint32_t *scc;              /* [waves] */
    uint8_t *lds;               /* launch->lds_bytes */
    uint8_t *scratch;           /* [waves][LANES][launch->scratch_bytes] */
} Lab;

/* Both end with STATUS_OK or with the first fault, which launch->fault describes. */
Status cdna_run(Launch *launch, const Start *start);
Status cdna_run_lab(Launch *launch, Lab *lab);

uint32_t cdna_operations(void);
const OperationEntry *cdna_operation(uint32_t index);
const char *cdna_operation_name(uint32_t index);
uint32_t cdna_operation_class(uint32_t index);
uint32_t cdna_operation_allows(uint32_t index);

/* sizeof Operand, Insn, Launch, Start, Lab, Counters, Fault, Allocation: what the mirrors are held to. */
void cdna_sizes(uint32_t sizes[8]);

#endif
