/* What a worker's spool and its intakes share. */
#ifndef POSTERN_FORWARD_INTAKE_PRIVATE_H
#define POSTERN_FORWARD_INTAKE_PRIVATE_H

struct forward_spool;

/* Tells the intakes in spool->over. From the loop. */
void intake_run(struct forward_spool *spool);

#endif
