# A smaller mixed model on the statistics of a larger one, of which it is a case: its columns of X
# are combinations of those of the larger one, its latent terms some of the larger one's.
#
#   place_within(small, large)          where; NULL where these statistics are not those of the
#                                       smaller model too
#   draw_within(small, large, place)    list(model, theta) as C draws from the smaller model
#   model_within(small, large, place)   the smaller model as C fits it

# list(map, at): X of the smaller model is X map of the larger one, Z its columns `at`.
place_within <- function(small, large) {
  if (!is.null(priors_of(small)) || !same_rows(design_of(small), design_of(large))) return(NULL)
  map <- combination_of(design_of(small)$X, design_of(large)$X)
  at <- match_columns(design_of(small)$Z, design_of(large)$Z)
  if (is.null(map) || anyNA(at)) NULL else list(map = with_smooths(map, large), at = at)
}

# What the statistics have of the rows beside X, Z and the response.
same_rows <- function(small, large) {
  if (is_crossed(small) || is_crossed(large)) return(FALSE)
  if (has_structure(small) || has_structure(large)) return(FALSE)
  same <- c("weights", "offset", "known_se", "level", "B")
  identical(small[same], large[same]) &&
    (ncol(small$Z) == 0 || identical(the_group(small), the_group(large)))
}

# M where A = B M to rounding, and NULL where there is none, or not one.
combination_of <- function(A, B) {
  M <- unname(qr.coef(qr(B), A))
  if (anyNA(M)) return(NULL)
  at <- match_columns(A, B)
  M[, !is.na(at)] <- diag(ncol(B))[, at[!is.na(at)]]
  size <- rep(apply(abs(A), 2, max), each = nrow(A))
  if (all(abs(A - B %*% M) <= 1e-10 * size)) M
}

# The column of B that each of A is, or NA; columns alike are taken in turn.
match_columns <- function(A, B) {
  at <- rep(NA_integer_, ncol(A))
  for (j in seq_len(ncol(A))) {
    same <- vapply(seq_len(ncol(B)), function(k) identical(c(B[, k]), c(A[, j])), NA)
    at[j] <- setdiff(which(same), at)[1]
  }
  at
}

# The columns of smooth terms, which come after those of X, stay.
with_smooths <- function(M, fit) {
  n <- sum(smooth_sizes(design_of(fit)$curves))
  rbind(cbind(M, matrix(0, nrow(M), n)), cbind(matrix(0, n, ncol(M)), diag(n)))
}

draw_within <- function(small, large, place) {
  held <- held_of(large)
  held$constant[held$block != "sigma"] <- NA # all terms have a part in a draw
  theta <- theta_parts(small)
  q <- ncol(design_of(large)$Z)
  Sigma <- matrix(0, q, q)
  Sigma[place$at, place$at] <- theta$Sigma
  theta$Sigma <- Sigma
  theta$beta <- drop(place$map %*% drawn_coefficients(small))
  list(model = c(glmm_law(design_of(large), held, method_of(small), full_rank = TRUE),
                 list(stats = stats_of(large))),
       theta = theta)
}

# Those held too; those of smooth terms are drawn, or found at their best.
drawn_coefficients <- function(fit) {
  c(unname(theta(fit)[parameters_of(fit)$block == "beta"]),
    numeric(sum(smooth_sizes(design_of(fit)$curves))))
}

# Absent terms are held at zero, each in a block of its own, after the others.
model_within <- function(small, large, place) {
  design <- design_of(small)
  held <- held_of(small)
  absent <- setdiff(seq_len(ncol(design_of(large)$Z)), place$at)
  alone <- lapply(absent, function(column) {
    list(group = group_names(design), columns = column, law = "us")
  })
  design$random <- c(design$random, alone)
  design$order <- c(place$at, absent) - 1L
  zero <- held[rep(NA_integer_, length(absent)), ]
  zero[c("block", "constant")] <- list(rep("sd", length(absent)), numeric(length(absent)))
  law <- glmm_law(design, rbind(held, zero), method_of(small), full_rank = TRUE)
  law$origin <- if (is.null(law$map)) numeric(nrow(place$map)) else drop(place$map %*% law$origin)
  law$map <- if (is.null(law$map)) place$map else place$map %*% law$map
  c(law, list(stats = stats_of(large)))
}
