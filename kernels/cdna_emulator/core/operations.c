/* The joint table of operations: Insn.operation is an index into it. */
#include <stdarg.h>
#include <stdio.h>

#include "run.h"

static const OperationEntry *const TABLES[] = {
    SCALAR_OPERATIONS,          CONTROL_OPERATIONS,      SCALAR_MEMORY_OPERATIONS, VECTOR_INT_OPERATIONS,
    VECTOR_WIDE_OPERATIONS,     VECTOR_FLOAT_OPERATIONS, VECTOR_HALF_OPERATIONS,   VECTOR_DOUBLE_OPERATIONS,
    VECTOR_DIVISION_OPERATIONS, VECTOR_MOVE_OPERATIONS,  COMPARE_OPERATIONS,       CONVERT_OPERATIONS,
    PACKED_OPERATIONS,          DOT_OPERATIONS,          MATRIX_OPERATIONS,        GLOBAL_OPERATIONS,
    LDS_OPERATIONS,
};
enum { TABLE_COUNT = sizeof TABLES / sizeof *TABLES };

enum { MOST_OPERATIONS = 4096 };

static const OperationEntry *joint[MOST_OPERATIONS];
static uint32_t joined;

__attribute__((constructor)) static void join(void) {
    for (uint32_t t = 0; t < TABLE_COUNT; t++)
        for (const OperationEntry *entry = TABLES[t]; entry && entry->name && joined < MOST_OPERATIONS; entry++)
            joint[joined++] = entry;
}

uint32_t cdna_operations(void) { return joined; }

const OperationEntry *cdna_operation(uint32_t index) { return joint[index]; }

const char *cdna_operation_name(uint32_t index) { return joint[index]->name; }

uint32_t cdna_operation_class(uint32_t index) { return joint[index]->cls; }

uint32_t cdna_operation_allows(uint32_t index) { return joint[index]->allows; }

Status cdna_unsupported(Launch *launch, const Insn *insn, const char *format, ...) {
    launch->fault.instruction = (uint32_t)(insn - launch->code);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(launch->fault.what, sizeof launch->fault.what, format, arguments);
    va_end(arguments);
    return STATUS_UNSUPPORTED;
}

void cdna_sizes(uint32_t sizes[8]) {
    const uint32_t all[8] = {sizeof(Operand), sizeof(Insn),     sizeof(Launch), sizeof(Start),
                             sizeof(Lab),   sizeof(Counters), sizeof(Fault),  sizeof(Allocation)};
    memcpy(sizes, all, sizeof all);
}
