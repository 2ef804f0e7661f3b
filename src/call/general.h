/* What entry points of generalised mixed models take of R's description of a model. */
#ifndef ELBO_CALL_GENERAL_H
#define ELBO_CALL_GENERAL_H

#include "call/support.h"
#include "general/prior.h"

void call_general_input(SEXP model, general_input *in);
/* NULL where nothing is said (prior_scale NULL). */
const general_prior *call_general_prior(SEXP model, const general_input *in);

#endif
