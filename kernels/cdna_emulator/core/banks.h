/* How many extra cycles an LDS access costs because its lanes meet in a bank. */
#ifndef BANKS_H
#define BANKS_H

#include "cdna.h"

/* The model. LDS has 32 banks of 4 bytes on gfx942. An instruction is served in groups of lanes, each group as many
 * lanes as fill the banks once; a group takes as many cycles as the largest number of distinct dwords that its lanes
 * want from one bank, and the cycles beyond the first are conflicts. Lanes of a group:
 *     up to 4 bytes: 32 consecutive lanes; 8 bytes: 16; 12 and 16 bytes: 8;
 *     16-byte reads: {0-3, 20-23} {4-7, 16-19} {8-11, 28-31} {12-15, 24-27} and the same 32 lanes up.
 * gfx950 uses 64 banks where it reads 8 or 16 bytes a lane in one access (ds_read_b64, ds_read_b64_tr_*,
 * ds_read_b128), 32 banks elsewhere (writes, narrow reads, ds_read2_*): its groups are then 32 lanes for 8 bytes, and
 * {0-3, 12-15, 20-23, 24-27} {4-7, 8-11, 16-19, 28-31} and the same 32 lanes up for 16 bytes.
 * Sources: ROCm Composable Kernel's "Understanding AMD GPU LDS and bank conflicts" for the 16-byte writes; the note on
 * bank conflicts at Triton's composePaddedLayoutForAsyncCopyCDNA4 for gfx950. The 16-byte reads of gfx942 are as third
 * parties report them; the groups for 8 and 12 bytes are assumed, from what fills the banks once. None of it was
 * measured on a card: the counts compare kernels with each other, they do not predict the card's own counter. */
typedef enum { BANKS_WRITE, BANKS_READ, BANKS_READ2 } BankUse;

uint32_t bank_conflicts(Arch arch, const uint32_t address[LANES], uint64_t mask, uint32_t bytes, BankUse use);

#endif
