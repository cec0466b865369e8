/* The checks that a card does not make: races in LDS, reads of what was never written, and results used before the
 * s_waitcnt of their load. All of it lives in Group.shadow and Wave.pending, which stay NULL when no check is on, so a
 * launch without checks pays one pointer test per LDS instruction.
 *
 * The run loop calls watch_start before a workgroup's first instruction and watch_release after its last one (both do
 * nothing when no check is on), and, with check_waits, watch_before in front of every instruction.
 */
#ifndef WATCH_H
#define WATCH_H

#include "cdna.h"

typedef enum {
    WATCH_READ,
    WATCH_WRITE,
    WATCH_ATOMIC,  /* reads and writes at once; two atomics never race with each other */
    WATCH_ARRIVAL, /* a load from memory straight into LDS: there once its wave has waited with vmcnt */
} WatchAccess;

static inline bool watch_on(const Launch *launch) {
    return launch->check_races || launch->check_undefined || launch->check_waits;
}

/* Makes the shadow of a workgroup whose wave, waves and launch are set; false: no memory. */
bool watch_start(Group *group);
void watch_release(Group *group);

/* With check_waits: a register that a load has not yet filled may be neither read nor overwritten by this instruction;
 * then notes what the instruction itself leaves under way. STATUS_USE_BEFORE_WAIT with the load's pc in fault.what. */
Status watch_before(Launch *launch, Wave *wave, const Insn *insn, const OperationEntry *entry);

/* One lane's access to LDS bytes [address, address + bytes), already known to be inside; called when group->shadow. */
Status watch_lds(Launch *launch, Wave *wave, const Insn *insn, uint32_t lane, uint32_t address, uint32_t bytes,
                 WatchAccess access);

/* After an instruction has written LDS; called when group->shadow. Reports a race of its writes: only now is it known
 * whether they changed anything. */
Status watch_written(Launch *launch, Wave *wave, const Insn *insn);

static inline Status lds_written(Launch *launch, Wave *wave, const Insn *insn) {
    return wave->group->shadow ? watch_written(launch, wave, insn) : STATUS_OK;
}

#endif
