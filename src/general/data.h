/* Rows by group, columns of X made orthogonal, scales of Z. */
#ifndef ELBO_GENERAL_DATA_H
#define ELBO_GENERAL_DATA_H

#include "general/types.h"

/* ELBO_E_RANK where a column of X may say nothing that those before it do not say (its pivot is
 * below 1e-11), which R judges by all of its digits. */
elbo_status general_data(const general_input *in, general_rows *rows, const elbo_memory *mem);

#endif
