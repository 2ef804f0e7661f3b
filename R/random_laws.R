# The law of each random term: its covariance as a function of few standard deviations and
# correlations (src/law/latent_law.h).
#
#   us     any covariance: an sd for each column, a correlation for each pair
#   diag   no correlations
#   cs     compound symmetry: one correlation
#   ar1    correlation rho^|i - j| of columns i and j
#
# with an sd for each column, or one in common (`hom`).
#
#   law_shape(design)         list(law, common) by covariance block; sd: the sd of each column of Z;
#                             cor, lag: the correlation of each of covariance_pairs(), 0 for none,
#                             and its power; has_sd, has_cor: the first column and pair of each
#   law_parameters(design)    rows of the table of parameters
#   law_sds(design, sd), law_cors(design, cor)   of each column and pair, from the parameters
#   law_matrix(design, sd, cor)                  Sigma
#   has_structure(design)     whether some term has another law than us

law_shape <- function(design) {
  block <- column_blocks(design)
  term_of <- rep(seq_along(design$random), lengths(lapply(design$random, `[[`, "columns")))
  terms <- design$random[term_of[!duplicated(block)]]
  law <- vapply(terms, `[[`, "", "law")
  common <- vapply(terms, function(term) isTRUE(term$common), NA)
  single <- tabulate(block, length(terms)) < 2
  law[single] <- "us"
  common[single] <- FALSE
  pairs <- covariance_pairs(block)
  of_pair <- block[pairs[, 1]]
  cor_key <- ifelse(law[of_pair] == "us", paste(pairs[, 1], pairs[, 2]), paste("block", of_pair))
  sd_key <- ifelse(common[block], paste("block", block), seq_along(block))
  none <- law[of_pair] == "diag"
  cor <- replace(match(cor_key, unique(cor_key[!none])), none, 0L)
  list(law = law, common = common, sd = match(sd_key, unique(sd_key)), cor = cor,
       lag = ifelse(law[of_pair] == "ar1", abs(pairs[, 1] - pairs[, 2]), 1),
       has_sd = which(!duplicated(sd_key)), has_cor = which(!duplicated(cor) & cor > 0))
}

has_structure <- function(design) any(vapply(design$random, function(term) {
  (term$law %in% c("cs", "ar1") || isTRUE(term$common)) && length(term$columns) > 1
}, NA))

# Terms that share a parameter have no name in it.
law_parameters <- function(design) {
  shape <- law_shape(design)
  terms <- as.character(colnames(design$Z))
  groups <- column_groups(design)
  pairs <- covariance_pairs(column_blocks(design))[shape$has_cor, , drop = FALSE]
  law <- shape$law[column_blocks(design)[pairs[, 1]]]
  own <- law == "us"
  block <- ifelse(law == "ar1", "rho", "cor")
  bind_parameters(
    parameter_rows("sd", ifelse(shape$common[column_blocks(design)], "", terms)[shape$has_sd],
                   group = groups[shape$has_sd]),
    parameter_rows(block, ifelse(own, terms[pairs[, 1]], ""),
                   ifelse(own, terms[pairs[, 2]], NA), group = groups[pairs[, 1]])
  )
}

law_sds <- function(design, sd) sd[law_shape(design)$sd]

law_cors <- function(design, cor) {
  shape <- law_shape(design)
  ifelse(shape$cor == 0, 0, c(cor, 0)[pmax(shape$cor, 1)]^shape$lag)
}

# Where an sd is infinite there is no law, and where it is zero no correlation.
law_matrix <- function(design, sd, cor) {
  sd <- unname(law_sds(design, sd))
  sd[is.infinite(sd)] <- 0
  cor <- unname(law_cors(design, cor))
  cor[is.nan(cor)] <- 0
  R <- diag(length(sd))
  pairs <- covariance_pairs(column_blocks(design))
  R[pairs] <- R[pairs[, 2:1, drop = FALSE]] <- cor
  R * outer(sd, sd)
}

# As C has the laws of blocks.
law_codes <- function(design) {
  shape <- law_shape(design)
  list(kind = match(shape$law, c("us", "diag", "cs", "ar1")) - 1L,
       common = as.integer(shape$common))
}

# What is not built for laws whose terms share parameters.
check_structure <- function(design, what) {
  if (!has_structure(design)) return()
  abort(c(sprintf("%s is not built yet for the laws cs(), ar1() and hom = TRUE of a random term.",
                  what), "There are ( | ), `||`, us() and diag()."), "elbo_error_not_available")
}
