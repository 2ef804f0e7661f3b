# Moves from one optimum to a better one.
#
#   moved_candidate(candidate, units, control)   what C finds for a candidate when moves have been
#                                                tried
#   moved_ascent(model, run, units, control)     the last of the ascents that moves from `run` led
#                                                to, or `run`; with how many there were, `moves`
#
# A component is given up, its units going to the others, and another one is split in two: the
# split-and-merge moves of Ueda, Nakano, Ghahramani and Hinton (2000). Where components may be
# empty, by vb, one comes without the other too: the emptiest component costs nothing, so that a
# split into it is a birth, and to give up one without a split is a death. A round splits each
# component once, in the place of the one that costs least, looks at all of them by short runs and
# climbs the most promising; after a round without success the place is that of the next in cost. A
# move is a partition like those that ascents start from, so that one piece of code serves mixtures
# of all kinds by all methods.

# iterations before moves are compared; by vb, which has twice as many, half of it
move_run <- 10L
move_look <- 40L     # before a climb goes on or is given up
move_climb <- 120L   # at most, before it is seen whether it leads higher
moves_climbed <- 2L  # of a round
most_deaths <- 8L    # of a round
patience <- 40L      # moves without success, and not more rounds than components
cheap_rows <- 1000L  # unless rows x components are so few
near_enough <- 1e-3  # the gain still to come where a climb ends
worthwhile <- 0.1    # the gain that makes a move
start_doubt <- 0.01  # of a unit's half
most_factors <- 1000L # of an iteration, components x designs

moved_ascent <- function(model, run, units, control) {
  run$moves <- failed <- round <- 0L
  with_seed(start_seed(control), {
    while (failed < most_failures(model)) {
      round <- round + 1L
      better <- best_move(model, run, units, control, round, failed)
      failed <- failed + 1L
      if (is.null(better)) next
      better$moves <- run$moves + 1L
      better$passes <- passes_of(list(run, better))
      run <- better
      failed <- 0L
    }
  })
  run
}

# Rounds without success. Where they cost next to nothing every way to split has its turn.
most_failures <- function(model) {
  rounds <- ceiling(patience / model$k)
  if (is_cheap(model)) rounds else min(rounds, model$k)
}

is_cheap <- function(model) model$n_row * model$k <= cheap_rows

# The first of the most promising moves of a round that leads higher, or NULL.
best_move <- function(model, run, units, control, round, failed) {
  at <- .Call(C_mixture_evaluate, model, run$state)
  short <- if (model$method == 2L) move_run %/% 2L else move_run
  runs <- lapply(proposed_moves(model, at, units, failed), function(move) {
    start <- moved_probability(move, at, units, round)
    if (is.null(start)) return(list(status = ascent_status[["unbounded"]]))
    ascend_mixture(model, list(probability = start), control, "none", min(short, control$max_iter))
  })
  runs <- runs[vapply(runs, alive, NA)]
  objective <- vapply(runs, `[[`, 0, "objective")
  for (s in utils::head(order(-objective),
                        if (is_cheap(model)) 3L * moves_climbed else moves_climbed)) {
    better <- climb_above(model, runs[[s]], control, run$objective + worthwhile)
    if (!is.null(better) &&
        trusted_objective(model, better) > trusted_objective(model, run)) return(better)
  }
  NULL
}

# list(gone, split) of components; a death has no split.
proposed_moves <- function(model, at, units, failed) {
  size <- colSums(at$probability)
  gone <- order(loss_without(at$probability, units$design$freq))
  split <- which(size >= 2)
  births <- lapply(split, function(j) {
    others <- setdiff(gone, j)
    list(gone = others[failed %% length(others) + 1L], split = j)
  })
  if (model$method != 2L) return(births)
  deaths <- utils::head(gone[size[gone] > 0.5], most_deaths)
  c(births, lapply(deaths, function(j) list(gone = j)))
}

# What the log-likelihood loses at most where a component is left out, but for a constant.
loss_without <- function(probability, freq) {
  if (is.null(freq)) freq <- 1
  vapply(seq_len(ncol(probability)), function(j) {
    -sum(freq * log(rowSums(without(probability, j))))
  }, 0)
}

# A unit that no other component accounts for belongs to all of them.
without <- function(probability, j) pmax(probability[, -j, drop = FALSE], 1e-300)

moved_probability <- function(move, at, units, round) {
  probability <- at$probability
  rest <- without(probability, move$gone)
  probability[, -move$gone] <- rest / rowSums(rest)
  probability[, move$gone] <- 0
  if (is.null(move$split)) return(probability)
  whole <- probability[, move$split]
  share <- split_share(whole, at, units, round + move$split)
  if (is.null(share)) return(NULL)
  probability[, move$split] <- whole * share
  probability[, move$gone] <- whole * (1 - share)
  probability
}

# What of each unit goes to the first half of a component: by a partition of its units as ascents
# start from, or by how well they fit (halves of one place and different spread). The ways take
# turns.
split_share <- function(whole, at, units, turn) {
  chosen <- which(whole >= 1 / ncol(at$probability))
  if (length(chosen) < 2) return() # a component that is next to empty
  makers <- Filter(function(maker) maker$name != "hierarchical",
                   unique(law_of(units$design)$start_makers()))
  turn <- turn %% (length(makers) + 1L)
  fit <- at$log_density[chosen]
  label <- if (turn == 0) 1L + (fit > stats::median(fit))
           else partition_units(makers[[turn]], some_units(units, chosen), 2L)
  if (length(unique(label)) < 2) return()
  share <- rep(0.5, length(whole))
  # A category or a count that a half has none of at the start it never gets: some doubt is left, as
  # where labels start an ascent.
  share[chosen] <- ifelse(label == 1L, 1 - start_doubt / 2, start_doubt / 2)
  share
}

some_units <- function(units, chosen) {
  at <- function(coordinates) list(x = coordinates$x[chosen, , drop = FALSE])
  list(design = subset_units(units$design, chosen), coordinates = lapply(units$coordinates, at))
}

# An ascent that by the rate of its first steps will not come near the goal is given up.
climb_above <- function(model, run, control, goal) {
  look <- climb(model, list(state = run$state), control, move_look)
  if (!alive(look) || isTRUE(look$objective + 3 * look$still_to_gain < goal)) return()
  result <- climb(model, list(state = look$state), control, move_climb)
  if (alive(result) && result$objective > goal) result
}

# Units that do not share their rows have factors of their own, so that the thousands of iterations
# that moves take would cost many times what the starts do.
worth_moving <- function(candidate, design) {
  candidate$k * law_of(design)$factorisations(design) <= most_factors
}

# Of a candidate, see fit_candidate(), with all its units at the end; as it is where there is
# nothing to start moves from.
moved_candidate <- function(candidate, units, control) {
  result <- candidate$result
  if (candidate$k == 1 || is.null(units$coordinates) || !alive(result)) return(result)
  if (!worth_moving(candidate, units$design)) return(result)
  sample <- candidate$short$n_unit < candidate$model$n_unit
  loose <- loosely(control)
  run <- if (sample) climb(candidate$short, list(state = result$state), loose) else result
  if (!alive(run)) return(result)
  moved <- moved_ascent(candidate$short, run, units, loose)
  if (moved$moves == 0) return(result)
  better <- climb(candidate$model, list(state = moved$state), control)
  if (!alive(better) || better$objective <= result$objective) return(result)
  spent <- moved$passes * candidate$short$n_unit / candidate$model$n_unit
  better$passes <- better$passes + spent + if (sample) result$passes else 0
  better$others <- c(list(result), result$others)
  better$starts <- rbind(result$starts, data.frame(start = paste("moves:", moved$moves),
                                                   objective = better$objective, status = "moved"))
  better
}
