/* Points on the boundary of the parameter space: the model proposes them, the objective decides. */
#include <math.h>

#include "engine/engine.h"

/* An estimate on the boundary beats one beside it that is higher by no more than this part of
 * 1 + |objective|: towards the boundary an ascent comes arbitrarily near, but not onto it. */
static const double WORTH_NOTHING = 1e-9;

int elbo_settle(const elbo_model *model, void *work, double *memory) {
  double before, after;
  int moved = 0;
  if (!model->propose || model->objective.value(work, &before) != ELBO_OK) return 0;
  for (int from = 0;;) {
    if (model->keep)
      model->keep(work);
    else
      model->pack(work, memory);
    const int at = model->propose(work, from);
    if (at < 0) break;
    if (model->objective.value(work, &after) == ELBO_OK &&
        after >= before - WORTH_NOTHING * (1.0 + fabs(before))) {
      before = after;
      moved = 1;
    } else if ((model->keep ? model->put_back(work) : model->unpack(work, memory)) != ELBO_OK) {
      return 0;
    }
    from = at + 1;
  }
  return moved && model->e_step(work) == ELBO_OK;
}
