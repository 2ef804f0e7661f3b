# Where the ascents of a mixture start: partitions of the units.
#
#   sorted_design(design)             list(design, order): its units in an order that follows from
#                                     what they are, so that nothing depends on the order of the
#                                     data
#   starting_units(design, seed)      list(design, coordinates): the units that partitions are made
#                                     of, all or a sample, and where they lie
#   mixture_starts(units, k, control, method)   list of list(name, start); start is what C takes,
#                                     list(label = ) or list(probability = )
#   given_start(start, design, k)     the user's own, checked, as such a list
#   best_ascent(model, short, starts, control)   short runs from all starts, then the best to the
#   end
#
# Partitions are made of features of the units, in columns of standard deviation one: responses, and
# the covariates of regressions. In these coordinates, or sphered (as mclust's transformation
# "SVD"), clusters are sought by k-means++ (Arthur and Vassilvitskii 2007) and by Ward's method,
# which is the hierarchical maximisation of the classification likelihood of the model EII.
# Regressions start from fits to a few random units too, each unit going to the one that fits it
# best. Short runs, then long ones from the best: Biernacki, Celeux and Govaert (2003).

largest_sample <- 20000L     # units in short runs
largest_hierarchy <- 2000L   # units in hierarchical clustering
short_run <- 15L             # iterations
long_run <- 500L
default_starts <- 20L

# Rows within units and units by their values, those of factors by their names.
sorted_design <- function(design) {
  rank <- row_ranks(design)
  unit <- unit_of_row(design)
  order <- order(rank, method = "radix")
  if (!is.null(design$first)) {
    rows <- order(unit, rank, method = "radix")
    first <- design$first[-1] - diff(design$first)
    order <- order(rank[rows][first + 1L], diff(design$first), rank[rows][design$first[-1]],
                   rowsum(rank, unit, reorder = FALSE), method = "radix")
  }
  if (!is.unsorted(order) && is.null(design$first)) return(list(design = design, order = NULL))
  if (!is.null(design$first)) {
    within <- intersect(row_elements, names(design))
    design[within] <- lapply(design[within], take_rows, rows)
  }
  list(design = subset_units(design, order), order = order)
}

# Equal rows have equal numbers.
row_ranks <- function(design) {
  Y <- law_of(design)$sort_keys(design)
  unit <- unit_of_row(design)
  by_unit <- cbind(design$freq, design$W)
  # Covariates first: units that are measured at the same times share their factorisations.
  keys <- cbind(Y, design$X, design$Z, design$weights, design$offset, design$y, design$trials,
                if (!is.null(by_unit)) by_unit[unit, , drop = FALSE])
  # Of numbers the first mostly tells all rows apart.
  first <- ranks_by(keys[, 1, drop = FALSE])
  if (max(first) == length(first)) first else ranks_by(keys)
}

ranks_by <- function(keys) {
  keys <- lapply(seq_len(ncol(keys)), function(j) keys[, j])
  order <- do.call(order, c(keys, list(method = "radix")))
  new <- logical(length(order) - 1L)
  for (key in keys) {
    key <- key[order]
    differ <- key[-1] != key[-length(key)]
    if (anyNA(key)) {
      differ <- ifelse(is.na(differ), is.na(key[-1]) != is.na(key[-length(key)]), differ)
    }
    new <- new | differ
  }
  replace(numeric(length(order)), order, cumsum(c(1, new)))
}

starting_units <- function(design, seed) {
  with_seed(seed, {
    if (design$n_unit > largest_sample) {
      design <- subset_units(design, sort(sample.int(design$n_unit, largest_sample)))
    }
    scaled <- unit_features(design)
    used <- vapply(law_of(design)$start_makers(), `[[`, "", "coordinates")
    x <- list(scaled = scaled, sphered = if ("sphered" %in% used) sphered(scaled))
    list(design = design, coordinates = lapply(x[lengths(x) > 0], hierarchy))
  })
}

# The same for a k whatever other k are tried. By vb components may be empty, and where there are
# more than the data ask for the best ascents start so: half of the starts have fewer groups.
mixture_starts <- function(units, k, control, method = "em") {
  if (k == 1) return(list(new_start("one component", rep(1L, units$design$n_unit))))
  n <- if (is.null(control$n_starts)) default_starts else control$n_starts
  makers <- rep_len(law_of(units$design)$start_makers(), n)
  groups <- rep(k, n)
  if (method == "vb") {
    full <- ceiling(n / 2)
    fewer <- round(seq(k - 1, 1, length.out = min(k - 1, 5)))
    groups <- c(rep(k, full), rep_len(rep(fewer, each = 2), n - full))
    makers <- rep_len(makers[seq_len(full)], n)
  }
  starts <- with_seed(start_seed(control), Map(function(maker, n) {
    label <- partition_units(maker, units, n)
    if (!is.null(label)) new_start(maker$name, label_by_size(label, n))
  }, makers, groups))
  different_starts(starts[lengths(starts) > 0])
}

partition_units <- function(maker, units, n) {
  design <- units$design
  at <- units$coordinates[[maker$coordinates]]
  switch(maker$name,
    hierarchical = hierarchical_labels(at, n),
    `k-means++` = kmeans_labels(at$x, n, design$freq),
    seeds = kmeans_labels(at$x, n, design$freq, sweeps = 0),
    `few units` = elemental_labels(design, n),
    random = random_labels(design$n_unit, n)
  )
}

new_start <- function(name, label) list(name = name, start = list(label = label))

start_seed <- function(control) if (is.null(control$seed)) 1L else control$seed

# One of each partition.
different_starts <- function(starts) {
  starts[!duplicated(lapply(starts, function(s) s$start$label))]
}

# Twenty, and again from the first. Seeds alone start more different ascents than k-means, whose
# sweeps lead many of them together: over the 14 models, k = 2, 3, 4 and three data sets twenty
# starts and five ascents reach the best known maximum in 95 % of cases, ten and four in 90 %.
#
# sphered_makers() are for clusters of any shape, scaled_makers() for others, so many of each kind.
sphered_makers <- function() {
  c(makers("hierarchical", both_coordinates), makers("k-means++", both_coordinates),
    makers("seeds", both_coordinates, 16))
}

scaled_makers <- function(seeds, few_units, random) {
  c(makers("hierarchical"), makers("k-means++", n = 2), makers("seeds", n = seeds),
    makers("few units", n = few_units), makers("random", n = random))
}

makers <- function(name, coordinates = "scaled", n = length(coordinates)) {
  lapply(rep_len(coordinates, n), function(where) list(name = name, coordinates = where))
}

both_coordinates <- c("sphered", "scaled")

# Largest first: as components are ordered in the end, and as a stick-breaking prior expects them.
label_by_size <- function(label, k) {
  size <- tabulate(label, k)
  order(order(-size))[label]
}

# Features --------------------------------------------------------------------------------------

unit_features <- function(design) {
  x <- law_of(design)$features(design)
  if (anyNA(x)) x <- impute_means(x)
  x <- standardised(x)
  if (nrow(x) == design$n_unit) return(x)
  standardised(rowsum(x, unit_of_row(design), reorder = FALSE) / diff(design$first))
}

impute_means <- function(x) {
  missing <- which(is.na(x), arr.ind = TRUE)
  x[missing] <- colMeans(x, na.rm = TRUE)[missing[, 2]]
  x
}

# Columns that are constant are left out. Numbers are brought near one before they are squared.
standardised <- function(x) {
  x <- x - rep(colMeans(x), each = nrow(x))
  largest <- apply(abs(x), 2, max)
  x <- x[, largest > 0, drop = FALSE]
  if (ncol(x) == 0) return(matrix(0, nrow(x), 1))
  x <- x / rep(largest[largest > 0], each = nrow(x))
  x / rep(sqrt(colMeans(x^2)), each = nrow(x))
}

sphered <- function(x) {
  spectrum <- eigen(crossprod(x) / nrow(x), symmetric = TRUE)
  keep <- spectrum$values > 1e-10 * spectrum$values[1]
  if (!any(keep)) return(x)
  x %*% (spectrum$vectors[, keep, drop = FALSE] / rep(sqrt(spectrum$values[keep]), each = ncol(x)))
}

# Partitions ------------------------------------------------------------------------------------

# Ward's tree of the units at x, or of a sample of them.
hierarchy <- function(x) {
  n <- nrow(x)
  used <- if (n > largest_hierarchy) sort(sample.int(n, largest_hierarchy)) else seq_len(n)
  tree <- if (n > 1) stats::hclust(stats::dist(x[used, , drop = FALSE]), "ward.D2")
  list(x = x, used = used, tree = tree)
}

hierarchical_labels <- function(at, k) {
  if (length(at$used) < k) return(NULL)
  label <- stats::cutree(at$tree, k)
  if (length(at$used) == nrow(at$x)) return(label)
  nearest(at$x, class_means(at$x[at$used, , drop = FALSE], label, k))
}

kmeans_labels <- function(x, k, freq, sweeps = 5) {
  centres <- spread_seeds(x, k, if (is.null(freq)) 1 else freq)
  if (is.null(centres)) return(NULL)
  label <- nearest(x, centres)
  for (sweep in seq_len(sweeps)) {
    if (any(tabulate(label, k) == 0)) return(NULL)
    label <- nearest(x, class_means(x, label, k))
  }
  label
}

# Units, each drawn with a probability proportional to its squared distance from the nearest before.
spread_seeds <- function(x, k, freq) {
  n <- nrow(x)
  chosen <- integer(k)
  distance <- rep(1, n)
  for (j in seq_len(k)) {
    weight <- distance * freq
    if (sum(weight > 0) == 0) return(NULL)
    chosen[j] <- sample.int(n, 1, prob = weight)
    from <- rowSums((x - rep(x[chosen[j], ], each = n))^2)
    distance <- if (j == 1) from else pmin(distance, from)
  }
  x[chosen, , drop = FALSE]
}

nearest <- function(x, centres) {
  max.col(x %*% t(centres) - rep(rowSums(centres^2) / 2, each = nrow(x)), "first")
}

class_means <- function(x, label, k) {
  sums <- rowsum(x, factor(label, seq_len(k)))
  sums / tabulate(label, k)
}

random_labels <- function(n, k) sample(rep_len(seq_len(k), n))

# The user's own --------------------------------------------------------------------------------

given_start <- function(start, design, k) {
  start <- if (is.data.frame(start)) as.matrix(start) else start
  read <- if (is.matrix(start)) given_probabilities else given_labels
  list(list(name = "given", start = read(start, design, k)))
}

given_labels <- function(start, design, k) {
  check(is.atomic(start) && !is.null(start), "start", "labels, or a matrix of probabilities", start)
  labels <- by_unit(start, design)
  if (anyNA(labels)) {
    abort("`start` has missing labels; give a matrix of probabilities where some are unknown.",
          "elbo_error_argument")
  }
  label <- match(labels, sort(unique(labels)))
  if (is.factor(labels)) label <- as.integer(drop_levels(labels))
  if (max(label) != k) {
    abort(sprintf("`start` has %d different labels, but `k` is %d.", max(label), k),
          "elbo_error_argument")
  }
  list(label = label)
}

given_probabilities <- function(start, design, k) {
  valid <- is.numeric(start) && ncol(start) == k && all(is.finite(start) & start >= 0) &&
    all(rowSums(start) > 0)
  what <- sprintf("a matrix of probabilities with %d columns, in rows with a positive sum", k)
  check(valid, "start", what, start)
  start <- by_unit(unname(start), design)
  list(probability = matrix(as.double(start / rowSums(start)), ncol = k))
}

# One value for each unit: given so, or by the rows of the data, used or all.
by_unit <- function(x, design) {
  n <- NROW(x)
  if (n == design$n_row + length(design$na.action)) {
    if (!is.null(design$na.action)) x <- take_rows(x, -as.integer(design$na.action))
    n <- design$n_row
  }
  if (n == design$n_row) return(unit_values(take_rows(x, design$row_order), design, "start"))
  if (n == design$n_unit) return(x)
  abort(c(sprintf("`start` must have a value for each of the %d rows", design$n_row),
          if (design$n_unit < design$n_row) sprintf("or of the %d units", design$n_unit),
          sprintf("of the data, not %d.", n)), "elbo_error_argument")
}

# Ascents ---------------------------------------------------------------------------------------

ascend_mixture <- function(model, start, control, accelerate = control$accelerate,
                           max_iter = control$max_iter, progress = NULL, first_order = FALSE,
                           spent = 0) {
  threads <- if (is.null(control$threads)) 1L else control$threads
  settings <- list(accelerate = match(accelerate, c("none", "squarem", "auto")) - 1L,
                   first_order = as.integer(first_order), max_iter = as.integer(max_iter),
                   tol = control$tol, spent = as.double(spent), threads = threads)
  .Call(C_mixture_fit, model, settings, start, progress)
}

alive <- function(result) result$status >= 0 && is.finite(result$objective)

# On the way to a collapse that more steps would only prolong: not at a maximum, with a variance
# of a
# component (in the direction where it is least) that is a hundred-thousandth of the data's.
collapsing <- function(model, result) {
  alive(result) && result$status != ascent_status[["converged"]] &&
    least_variance(model, result$state) < 1e-5
}

refuse_collapsing <- function(model, result) {
  if (collapsing(model, result)) result$status <- ascent_status[["unbounded"]]
  result
}

# Of all components. Variances with a prior are bounded from below.
least_variance <- function(model, state) min(least_variances(model, state))

# Of each component, or one where it is common or bounded by a prior, in the direction in which it
# is least: relative to the data.
least_variances <- function(model, state) {
  if (model$method == 2L) return(1)
  law <- law_of(model)
  law$least_variances(model$parts[[law$part]], state[[law$part]])
}

# Components whose sd, where it is least, is below a fifth of the largest of these.
narrow_components <- function(model, result) {
  variance <- least_variances(model, result$state)
  if (length(variance) != model$k) integer() else which(variance < 0.04 * max(variance))
}

# Those on so few units that these may only happen to be close.
spurious_components <- function(model, result) {
  narrow <- narrow_components(model, result)
  narrow[result$size[narrow] < few_units(model)]
}

# In the neighbourhood of its infinities the likelihood has maxima that say nothing (McLachlan and
# Peel 2000, section 3.10). So that luck does not decide whether one is met, an optimum with a
# narrow component is taken only where it is better by far than those without, and on few units only
# where there is no other.
trusted_objective <- function(model, result) {
  narrow <- narrow_components(model, result)
  if (length(narrow) == 0) return(result$objective)
  few <- length(spurious_components(model, result)) > 0
  result$objective - by_far - (if (few) 1e6 * (1 + abs(result$objective)) else 0)
}

by_far <- 10

few_units <- function(model) {
  law <- law_of(model)
  3 * (law$n_terms(model$parts[[law$part]]) + 1)
}

start_status <- function(result, otherwise) {
  if (alive(result)) return(otherwise)
  switch(names(ascent_status)[match(result$status, ascent_status)],
         unbounded = "collapsed", descent = "descent", "not finite")
}

# What C says of the best ascent, with the table of all as `starts`; or of one of those that failed,
# where all did. `short` is the model of the units that the starts partition; where these are all
# units it is `model`.
best_ascent <- function(model, short, starts, control) {
  if (length(starts) == 1 && short$n_unit == model$n_unit) {
    return(only_ascent(model, starts[[1]], control))
  }
  runs <- lapply(starts, function(s) {
    ascend_mixture(short, s$start, control, "none", min(short_run, control$max_iter))
  })
  passes <- passes_of(runs)
  objective <- vapply(runs, function(run) if (alive(run)) run$objective else NA, 0)
  status <- vapply(runs, start_status, "", "short run")
  sampled <- short$n_unit < model$n_unit
  for (s in order(objective, decreasing = TRUE, na.last = NA)) {
    runs[[s]] <- climb(short, starts[[s]]$start, if (sampled) loosely(control) else control)
    passes <- passes + passes_of(runs[s])
    status[s] <- start_status(runs[[s]], "climbed")
    objective[s] <- if (alive(runs[[s]])) runs[[s]]$objective else NA
    if (sum(status == "climbed") >= length(starts) / 4) break
  }
  climbed <- which(status == "climbed")
  trusted <- vapply(runs[climbed], trusted_objective, 0, model = short)
  climbed <- climbed[order(-trusted)]
  if (length(climbed) == 0) return(runs[[length(runs)]])
  best <- runs[[climbed[1]]]
  passes <- passes - passes_of(list(best))
  if (sampled) best <- first_alive(model, runs[climbed], control)
  else best$others <- runs[climbed[-1]]
  if (alive(best)) best$passes <- best$passes + passes * short$n_unit / model$n_unit
  best$starts <- data.frame(start = vapply(starts, `[[`, "", "name"), objective = objective,
                            status = status)
  best
}

# To compare ascents of a sample, of which the best goes on with all units.
loosely <- function(control) replace(control, "tol", max(near_enough, control$tol))

# The start that there is, as far as it goes: nothing is to be compared.
only_ascent <- function(model, start, control) {
  result <- climb(model, start$start, control, control$max_iter, control$accelerate)
  result$starts <- data.frame(start = start$name, status = start_status(result, "climbed"),
                              objective = if (alive(result)) result$objective else NA)[c(1, 3, 2)]
  result
}

# Times the units were read.
passes_of <- function(runs) {
  sum(vapply(runs, function(run) if (is.null(run$passes)) 0 else run$passes, 0))
}

# Near enough to compare. Where several starts compete all climb in the basin that EM leads to;
# quasi-Newton steps and Newton's method wait for the one that is taken.
climb <- function(model, start, control, most = long_run, accelerate = NULL) {
  auto <- control$accelerate == "auto"
  if (is.null(accelerate)) accelerate <- if (auto) "squarem" else control$accelerate
  result <- ascend_mixture(model, start, control, accelerate,
                           min(if (auto) most, control$max_iter), first_order = TRUE)
  refuse_collapsing(model, result)
}

# From a sample to all units.
first_alive <- function(model, runs, control) {
  for (run in runs) {
    result <- climb(model, list(state = run$state), control, accelerate = control$accelerate)
    if (alive(result)) break
  }
  result
}

# What was found, climbed to the end. Where EM had stopped at a saddle and the way up leads to a
# collapse, the next best ascent is taken.
finish_ascent <- function(model, best, control) {
  spent <- passes_of(list(best)) # of all starts
  for (run in c(list(best), best$others)) {
    own <- passes_of(list(run))
    result <- continue_ascent(model, run, control)
    if (alive(result)) break
    spent <- spent + passes_of(list(result))
  }
  result$passes <- spent - own + passes_of(list(result))
  result$starts <- best$starts
  result
}

# On from where an ascent ended, as one ascent.
continue_ascent <- function(model, result, control) {
  left <- control$max_iter - result$iterations
  if (left < 1 || result$finished) return(result)
  more <- ascend_mixture(model, list(state = result$state), control, max_iter = left,
                         progress = progress_reporter(control), spent = result$passes)
  more <- refuse_collapsing(model, more)
  if (more$status == ascent_status[["unbounded"]]) return(more)
  rounding <- 1e-8 * abs(result$objective)
  if (!alive(more) || more$objective < result$objective - rounding) return(result)
  trace <- more$trace[, -1, drop = FALSE]
  trace[1, ] <- trace[1, ] + result$iterations
  more$trace <- cbind(result$trace, trace)
  counts <- c("iterations", "em", "squarem", "quasi_newton", "newton", "passes")
  more[counts] <- Map(`+`, more[counts], result[counts])
  more
}
