# The exercises of the tutorial without learnr: each solution passes its check, and what the
# student finds at the start does not.

tutorial <- function() readLines(system.file("tutorials/lecture/lecture.Rmd", package = "elbo"))

chunks <- function(lines) {
  open <- grep("^```[{]r", lines)
  close <- vapply(open, function(i) i + which(lines[-seq_len(i)] == "```")[1], 0)
  label <- sub("^```[{]r ([^,}]+).*", "\\1", lines[open])
  stats::setNames(Map(function(from, to) lines[from + seq_len(to - from - 1)], open, close), label)
}

run <- function(code, envir) {
  grDevices::pdf(NULL)
  on.exit(grDevices::dev.off())
  # An exercise may have no such chunk: parse() of NULL would read standard input.
  eval(parse(text = as.character(code)), envir)
}

test_that("solutions pass their checks, and the starting code does not", {
  code <- chunks(tutorial())
  setup <- new.env(parent = globalenv())
  run(code$setup, setup)
  checked <- sub("-check$", "", grep("-check$", names(code), value = TRUE))
  expect_gt(length(checked), 7)
  for (exercise in checked) {
    here <- new.env(parent = setup)
    run(code[[paste0(exercise, "-setup")]], here)
    marked <- function(answer) setup$mark(code[[paste0(exercise, "-check")]], answer, here)
    expect_true(marked(run(code[[paste0(exercise, "-solution")]], new.env(parent = here))))
    hint <- marked(run(code[[exercise]], new.env(parent = here)))
    expect_true(is.character(hint) && length(hint) == 1 && nchar(hint) > 20)
    expect_true(is.character(marked("nonsense")))
  }
})

test_that("exercises without a check run", {
  lines <- tutorial()
  code <- chunks(lines)
  setup <- new.env(parent = globalenv())
  run(code$setup, setup)
  shown <- sub("^```[{]r ([^,}]+),.*", "\\1", grep("exercise = TRUE", lines, value = TRUE))
  unchecked <- setdiff(shown, sub("-check$", "", grep("-check$", names(code), value = TRUE)))
  expect_gt(length(unchecked), 2)
  for (exercise in unchecked) {
    expect_no_error(run(code[[exercise]], new.env(parent = setup)))
  }
})

test_that("learnr's checker gets a message and a mark", {
  code <- chunks(tutorial())
  setup <- new.env(parent = globalenv())
  run(code$setup, setup)
  feedback <- setup$checker("z-hat", "", code[["z-hat-check"]], setup, NULL, rowMeans(setup$y))
  expect_identical(feedback, list(correct = TRUE, location = "append", message = "Right.",
                                  type = "success"))
  expect_false(setup$checker("z-hat", "", code[["z-hat-check"]], setup, NULL, 1)$correct)
})

test_that("known mistakes get the diagnosis that is theirs", {
  code <- chunks(tutorial())
  setup <- new.env(parent = globalenv())
  run(code$setup, setup)
  marked <- function(exercise, answer) setup$mark(code[[paste0(exercise, "-check")]], answer, setup)
  expect_match(marked("inside", c(0.6, 0.6)), "standard deviations")
  expect_match(marked("inside", c(1, 1)), "cover p")
  expect_match(marked("inside", 1 / c(0.36, 0.36)), "precision")
  expect_match(marked("inside", 3), "vector of two")
  d <- setup$y[, 1] - setup$y[, 2]
  expect_match(marked("theta-hat", mean(d^2)), "half of the difference")
  expect_match(marked("theta-hat", mean(d^2) / 2), "two residuals")
  expect_match(marked("theta-hat", "a"), "a number")
  expect_match(marked("z-hat", rowSums(setup$y)), "twice")
  expect_match(marked("z-hat", 1), "each of the 2000 pairs")
})

test_that("what the exercises print fits on a screen", {
  lines <- tutorial()
  code <- chunks(lines)
  setup <- new.env(parent = globalenv())
  withr::local_options(max.print = 60) # as the setup has it
  run(code$setup, setup)
  exercises <- sub("^```[{]r ([^,}]+),.*", "\\1", grep("exercise = TRUE", lines, value = TRUE))
  for (exercise in exercises) {
    here <- new.env(parent = setup)
    run(code[[paste0(exercise, "-setup")]], here)
    source <- withr::local_tempfile(lines = code[[exercise]])
    grDevices::pdf(NULL)
    shown <- utils::capture.output(source(source, local = here, print.eval = TRUE))
    grDevices::dev.off()
    expect_lt(length(shown), 40)
    expect_false(any(grepl("<environment|<bytecode", shown)))
  }
})
