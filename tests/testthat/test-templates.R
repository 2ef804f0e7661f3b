# Renders the skeleton of a template with these params, to HTML unless a format is given, and
# returns its text.
render_template <- function(template, params = NULL, format = NULL) {
  skip_if_not_installed("rmarkdown")
  skip_if_not(rmarkdown::pandoc_available("2.0"), "pandoc is not installed")
  folder <- system.file("rmarkdown", "templates", template, package = "elbo", mustWork = TRUE)
  directory <- withr::local_tempdir()
  report <- file.path(directory, "report.Rmd")
  file.copy(file.path(folder, "skeleton", "skeleton.Rmd"), report)
  if (is.null(format)) format <- rmarkdown::html_document(theme = NULL, highlight = NULL)
  made <- rmarkdown::render(report, format, params = params, quiet = TRUE,
                            envir = new.env(parent = globalenv()))
  paste(readLines(made, encoding = "UTF-8", warn = FALSE), collapse = "\n")
}

test_that("every template has a name, a description and a skeleton", {
  folders <- list.dirs(system.file("rmarkdown", "templates", package = "elbo"),
                       recursive = FALSE)
  expect_setequal(basename(folders), c("analysis", "homework"))
  for (folder in folders) {
    yaml <- readLines(file.path(folder, "template.yaml"))
    expect_match(yaml, "^name: ", all = FALSE)
    expect_match(yaml, "^description: ", all = FALSE)
    expect_true(file.exists(file.path(folder, "skeleton", "skeleton.Rmd")))
  }
})

test_that("the analysis reports on its own data, and on the reader's", {
  skip_on_cran()
  html <- render_template("analysis")
  fit <- fit_glmm(distance ~ age * Sex + (age | Subject), nlme::Orthodont, method = "reml")
  expect_match(html, sprintf("%.3f", coef(fit)[["age:SexFemale"]]), fixed = TRUE)
  expect_match(html, convergence(fit)$message, fixed = TRUE)
  expect_match(html, "its own effect of age", fixed = TRUE)
  expect_true(grepl("Subjects differ\\s+from\\s+the\\s+average\\s+by\\s+less", html))
  expect_false(grepl("average in <strong>(Intercept)", html, fixed = TRUE))

  # A missing value is no level.
  gaps <- as.data.frame(nlme::Orthodont)
  gaps$Sex[3] <- NA
  expect_match(render_template("analysis", list(
    data = gaps, formula = "distance ~ age * Sex + (age | Subject)", sigma = "~ 1"
  )), "2 levels", fixed = TRUE)

  set.seed(1)
  mine <- sim_glmm(groups = 12, size = 8, sd = 1)
  mine$group <- factor(mine$group, labels = month.name)
  html <- render_template("analysis", list(
    data = mine, formula = "y ~ x + (1 | group)", sigma = "~ group"
  ))
  expect_match(html, "12 groups", fixed = TRUE)
  expect_match(html, "sigma September", fixed = TRUE)
})

test_that("the homework has solutions only where they are asked for", {
  skip_on_cran()
  sheet <- render_template("homework")
  expect_no_match(sheet, "Solution.", fixed = TRUE)
  expect_no_match(sheet, "theta_hat &lt;- sum", fixed = TRUE)
  # The solutions check themselves and stop where they are wrong.
  solved <- render_template("homework", list(solutions = TRUE))
  expect_match(solved, "Solution.", fixed = TRUE)
  expect_match(solved, "sum(d^2)", fixed = TRUE)
  expect_match(sheet, "math-style: normal", fixed = TRUE) # formulas as in the lecture
})

test_that("the homework becomes a PDF where LaTeX is small", {
  skip_on_cran()
  skip_if_not_installed("rmarkdown")
  # Debian has framed.sty in texlive-latex-extra, what is left in texlive-latex-recommended.
  report <- system.file("rmarkdown/templates/homework/skeleton/skeleton.Rmd", package = "elbo",
                        mustWork = TRUE)
  settings <- rmarkdown::yaml_front_matter(report)$output$pdf_document
  expect_type(settings, "list")
  tex <- render_template("homework", format = do.call(rmarkdown::latex_document, settings))
  expect_match(tex, "Highlighting", fixed = TRUE)
  expect_no_match(tex, "framed", fixed = TRUE)
})
