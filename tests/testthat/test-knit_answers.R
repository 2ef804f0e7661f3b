orthodont <- as.data.frame(nlme::Orthodont)
growth <- fit_glmm(distance ~ age * Sex + (age | Subject), orthodont)
straight <- fit_glmm(distance ~ age * Sex + (1 | Subject), orthodont)
table_rows <- function(text) grep("^[|]", strsplit(text, "\n")[[1]], value = TRUE)
cells <- function(row) trimws(strsplit(gsub("^[|]|[|]$", "", row), "|", fixed = TRUE)[[1]])

test_that("tests of fits and of terms are tables", {
  skip_if_not_installed("knitr")
  fits <- anova(straight, growth)
  rows <- table_rows(knitr::knit_print(fits))
  expect_length(rows, 4)
  expect_identical(cells(rows[1])[1:2], c("Fit", "npar"))
  expect_identical(cells(rows[4])[1:3], c("growth", "8", sprintf("%.1f", logLik(growth))))
  terms <- anova(growth)
  rows <- table_rows(knitr::knit_print(terms))
  expect_identical(vapply(rows[-(1:2)], function(row) cells(row)[1], "", USE.NAMES = FALSE),
                   rownames(terms))
  expect_identical(utils::tail(cells(rows[1]), 1), "p")
  expect_output(print(terms), "F value") # to the console as before
})

test_that("variances and bootstrap are tables, with readable names", {
  skip_if_not_installed("knitr")
  rows <- table_rows(knitr::knit_print(VarCorr(growth)))
  expect_identical(cells(rows[1]), c("Group", "Name", "With", "Variance", "Std.Dev.", "Corr"))
  expect_length(rows, 2 + 4)
  rows <- table_rows(knitr::knit_print(bootstrap(straight, 3, seed = 1)))
  expect_length(rows, 2 + length(theta(straight)))
})

test_that("sensitivities say what was found, and what was not", {
  skip_if_not_installed("knitr")
  lean <- sensitivity(growth, to = "data")
  text <- knitr::knit_print(lean)
  found <- lean[!is.na(lean$rows), ]
  expect_length(table_rows(text), if (nrow(found) > 0) 2 + nrow(found) else 0)
  prior <- sensitivity(update(straight, method = "vb"))
  rows <- table_rows(knitr::knit_print(prior))
  expect_length(rows, 2 + 20)
  strongest <- which.max(abs(prior$per_sd))
  expect_identical(cells(rows[3])[3], prior$number[strongest])
})

test_that("traces, choices, projections and checks are tables and words", {
  skip_if_not_installed("knitr")
  textbook <- update(straight, control = elbo_control(accelerate = "none"))
  text <- knitr::knit_print(elbo_trace(textbook))
  expect_length(table_rows(text), 2 + min(20, nrow(elbo_trace(textbook))))
  choice <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 1:2,
                        control = elbo_control(n_starts = 2))
  text <- knitr::knit_print(selection(choice))
  expect_match(text, "chosen: k = ", fixed = TRUE)
  expect_length(table_rows(text), 2 * (2 + 2)) # fourteen models, seven in a table
  text <- knitr::knit_print(kl_project(c(0, 0), matrix(c(1, 0.8, 0.8, 1), 2), "independent"))
  expect_length(table_rows(text), 4)
  expect_match(text, "0.5108", fixed = TRUE)
  marked <- check_em(function(theta, y) 1, function(q, y) 1, function(theta, z, y) z, 1, 1)
  expect_match(knitr::knit_print(marked), "E-step: wrong", fixed = TRUE)
  right <- check_em(function(theta, y) cbind(0.5 + 0 * y, 0.5), function(q, y) mean(y),
                    function(theta, z, y) dnorm(y, theta, log = TRUE) - log(2), 0, c(1, 2, 4))
  text <- knitr::knit_print(right)
  expect_match(text, "`E_q[log p(y, z | theta)]`", fixed = TRUE)
  # Brackets with backslashes are formulas to pandoc.
  for (shown in list(text, knitr::knit_print(kl_project(0, 1, objective = "no_entropy")))) {
    expect_no_match(shown, "\\[", fixed = TRUE)
  }
})

test_that("HTML, LaTeX and Word have them all", {
  skip_on_cran()
  skip_if_not_installed("rmarkdown")
  skip_if_not(rmarkdown::pandoc_available("2.0"), "pandoc is not installed")
  directory <- withr::local_tempdir()
  source <- file.path(directory, "answers.Rmd")
  writeLines(c(
    "---", "title: Answers", "---", "```{r, echo = FALSE}",
    "fit <- fit_glmm(distance ~ age + (1 | Subject), nlme::Orthodont)",
    "anova(fit)", "VarCorr(fit)", "elbo_trace(fit)",
    "kl_project(c(0, 0), diag(2), \"independent\")", "bootstrap(fit, 3, seed = 1)", "```"
  ), source)
  render <- function(format) {
    rmarkdown::render(source, format, output_dir = directory, quiet = TRUE,
                      envir = new.env(parent = globalenv()))
  }
  read <- function(file) paste(readLines(file, encoding = "UTF-8", warn = FALSE), collapse = "\n")
  count <- function(pattern, text) lengths(regmatches(text, gregexpr(pattern, text)))
  expect_identical(count("<table", read(render(rmarkdown::html_document(theme = NULL)))), 5L)
  expect_identical(count("\\\\begin\\{longtable\\}", read(render(rmarkdown::latex_document()))), 5L)
  utils::unzip(render(rmarkdown::word_document()), "word/document.xml", exdir = directory)
  xml <- read(file.path(directory, "word", "document.xml"))
  expect_identical(count("<w:tbl>", xml), 5L)
})
