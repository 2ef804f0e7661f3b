orthodont <- nlme::Orthodont
growth <- fit_glmm(distance ~ age + (age | Subject), orthodont)

# The lines of pipe tables in Markdown.
table_rows <- function(text) grep("^[|]", strsplit(text, "\n")[[1]], value = TRUE)

test_that("a fit is told in words and tables", {
  skip_if_not_installed("knitr")
  text <- knitr::knit_print(growth)
  expect_s3_class(text, "knit_asis")
  expect_match(text, "Marginal maximum likelihood", fixed = TRUE)
  expect_match(text, "`distance ~ age + (age | Subject)`", fixed = TRUE)
  # A row for each fixed effect and each variance parameter, two headings, two rules.
  expect_length(table_rows(text), 2 + 4 + 2 + 2)
  for (shown in c("16.76", "0.660", "2.19", "-0.581", "1.31")) {
    expect_match(text, shown, fixed = TRUE) # as print() shows them
  }
  expect_match(text, convergence(growth)$message, fixed = TRUE)
})

test_that("a summary adds what summary() adds", {
  skip_if_not_installed("knitr")
  text <- knitr::knit_print(summary(growth))
  expect_match(text, sprintf("AIC %.1f, BIC %.1f", AIC(growth), BIC(growth)), fixed = TRUE)
  expect_match(text, "rows in each Subject: 4", fixed = TRUE)
  vb <- knitr::knit_print(summary(update(growth, method = "vb")))
  expect_match(vb, "Linear response", fixed = TRUE)
  expect_match(vb, "half\\_t(3, 7.32) (default)", fixed = TRUE)
})

test_that("a comparison has a column for each fit", {
  skip_if_not_installed("knitr")
  both <- compare_fits(ml = growth, reml = update(growth, method = "reml"))
  rows <- table_rows(knitr::knit_print(both))
  expect_match(rows, "|Parameter", fixed = TRUE, all = FALSE)
  heading <- grep("|Parameter", rows, fixed = TRUE, value = TRUE)
  expect_match(heading, "ml.*reml")
  expect_length(rows, 2 + 2 + 2 + 6)
  expect_match(knitr::knit_print(both), "reml: z and beta integrated exactly", fixed = TRUE)
  # Rows taken out of a comparison are a data frame like any other.
  expect_output(knitr::knit_print(both[1:2, c("fit", "estimate")]), "estimate")
})

test_that("a fit of any model is shown by what every fit answers", {
  skip_if_not_installed("knitr")
  other <- fit_toy(faithful$eruptions, 30)
  text <- knitr::knit_print(other)
  expect_match(text, "Marginal maximum likelihood", fixed = TRUE)
  expect_match(text, "sd\\_\\_Observation", fixed = TRUE)
  expect_match(text, sprintf("%.1f", AIC(other)), fixed = TRUE)
})

test_that("fits too many for a page go below each other, numbers to the right", {
  skip_if_not_installed("knitr")
  pairs <- sim_pairs(50, theta = 1)
  fit <- fit_glmm(y ~ 0 + (1 | pair), pairs, prior = priors(pair = constant(Inf)))
  rows <- table_rows(knitr::knit_print(
    compare_fits(the_first_fit = fit, the_second_fit = fit, the_third_fit = fit,
                 the_fourth_fit = fit, the_fifth_fit = fit)
  ))
  expect_length(grep("Parameter", rows), 2)
  rules <- grep("^[|]:?-", rows, value = TRUE)
  expect_match(rules[2], "^[|]:-+([|]-+:)+[|]$")
})

test_that("a mixture has a column for each component", {
  skip_if_not_installed("knitr")
  fit <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = "EEE")
  text <- knitr::knit_print(fit)
  rows <- table_rows(text)
  expect_match(rows[1], "Component.*1.*2")
  expect_length(rows, 2 + 1 + 2 + 2) # heading, rule, weight, means, standard deviations
  for (weight in components(fit)$weight) {
    expect_match(rows, sprintf("%.3f", weight), fixed = TRUE, all = FALSE)
  }
  long <- knitr::knit_print(summary(fit))
  expect_match(table_rows(long), "cor", all = FALSE)
  expect_match(long, sprintf("%.1f", BIC(fit)), fixed = TRUE)
})

test_that("what Markdown would read otherwise is escaped, calls are code", {
  expect_identical(escape_markdown("a_b*c^2 [x] <y> ~z $ \\"),
                   "a\\_b\\*c\\^2 \\[x\\] \\<y\\> \\~z \\$ \\\\")
  expect_identical(
    words_markdown(c("of sd__a|b, see convergence(fit)$check.", "use confint(type = \"wald\")")),
    "of sd\\_\\_a|b, see `convergence(fit)$check`.  \nuse `confint(type = \"wald\")`"
  )
  expect_identical(words_markdown("cor__(Intercept).age"), "cor\\_\\_(Intercept).age")
  expect_null(words_markdown(character()))
})

test_that("HTML, LaTeX and Word have tables", {
  skip_on_cran()
  skip_if_not_installed("rmarkdown")
  skip_if_not(rmarkdown::pandoc_available("2.0"), "pandoc is not installed")
  directory <- withr::local_tempdir()
  source <- file.path(directory, "report.Rmd")
  writeLines(c(
    "---", "title: Report", "---", "```{r, echo = FALSE}",
    "fit <- fit_glmm(distance ~ I(age^2) + (age | Subject), nlme::Orthodont)",
    "fit", "summary(fit)", "compare_fits(ml = fit, reml = update(fit, method = \"reml\"))", "```"
  ), source)
  render <- function(format, ...) {
    rmarkdown::render(source, format, output_dir = directory, quiet = TRUE,
                      envir = new.env(parent = globalenv()), ...)
  }
  read <- function(file) paste(readLines(file, encoding = "UTF-8", warn = FALSE), collapse = "\n")
  count <- function(pattern, text) lengths(regmatches(text, gregexpr(pattern, text)))
  tables <- 7L # of the fit 2, of the summary 3, of the comparison 2

  html <- read(render(rmarkdown::html_document(theme = NULL, mathjax = NULL)))
  expect_identical(count("<table", html), tables)
  expect_match(html, "<td style=\"text-align:left;\"> I(age^2) </td>", fixed = TRUE)

  tex <- read(render(rmarkdown::latex_document()))
  expect_identical(count("\\\\begin\\{longtable\\}", tex), tables)
  expect_match(tex, "I(age\\^{}2)", fixed = TRUE)

  word <- render(rmarkdown::word_document())
  utils::unzip(word, "word/document.xml", exdir = directory)
  xml <- read(file.path(directory, "word", "document.xml"))
  expect_identical(count("<w:tbl>", xml), tables)
  expect_match(xml, "I(age^2)", fixed = TRUE)
})

test_that("numbers that belong together are not broken, and text does not follow the last note", {
  expect_identical(unbroken(c("0.784 (0.083)", "  16.3   (1.1)", "sd age | Subject", "-1 [-2, 3]")),
                   c("0.784\u00a0(0.083)", "16.3\u00a0\u00a0\u00a0(1.1)", "sd age | Subject",
                     "-1\u00a0[-2,\u00a03]"))
  skip_on_cran()
  skip_if_not_installed("rmarkdown")
  skip_if_not(rmarkdown::pandoc_available("2.0"), "pandoc is not installed")
  directory <- withr::local_tempdir()
  source <- file.path(directory, "glued.Rmd")
  writeLines(c("```{r, echo = FALSE}", "few <- fit_glmm(travel ~ 1 + (1 | Rail), nlme::Rail)",
               "few", "```", "Text that follows at once."), source)
  html <- rmarkdown::render(source, rmarkdown::html_document(theme = NULL, mathjax = NULL),
                            quiet = TRUE, envir = new.env(parent = globalenv()))
  html <- paste(readLines(html, encoding = "UTF-8", warn = FALSE), collapse = "\n")
  expect_match(html, "<p>Text that follows at once.</p>", fixed = TRUE)
})

test_that("a fit without fixed effects has no table of them", {
  skip_if_not_installed("knitr")
  fit <- fit_glmm(y ~ 0 + (1 | pair), sim_pairs(50, theta = 1))
  for (shown in list(fit, summary(fit))) {
    text <- knitr::knit_print(shown)
    expect_no_match(text, "Coefficient", fixed = TRUE)
    expect_match(text, "sigma", fixed = TRUE)
  }
  expect_output(print(summary(fit)), "sigma")
})

test_that("a fit without variance parameters is knitted without their table", {
  skip_if_not_installed("knitr")
  d <- data.frame(y = c(0.4, 0.1, 0.3), s = c(0.2, 0.3, 0.2))
  text <- knitr::knit_print(fit_glmm(y ~ 1, d, se = s))
  expect_match(text, "(Intercept)", fixed = TRUE)
  expect_match(text, " z\\|", label = "no degrees of freedom: a test by z")
  expect_false(grepl("Parameter", text))
})
