# What a tool of another package does with each kind of fit, for tests and for the table in
# bench/ecosystem.md.

table_kinds <- c("em", "reml", "vb", "joint", "meta", "regression", "regression_vb", "poisson",
                 "normal", "classes", "curves")
mixed_kinds <- table_kinds[1:5]
mixture_kinds <- table_kinds[6:11]

# expect_tool("emmeans()", function(fit) emmeans::emmeans(fit, ~ Sex), works = c("em", "reml"),
#             refused = mixture_kinds)
#
# Each kind in `works` must run without error or warning, each in `refused` stop with an error of
# ours; the rest are "not applicable". A package that passes only the text of our error on is
# known by `saying`, a pattern of it.
expect_tool <- function(tool, use, works = character(), refused = character(), saying = NULL) {
  stopifnot(all(c(works, refused) %in% table_kinds), !any(works %in% refused))
  describe <- function(e) {
    ours <- is_ours(e) || (!is.null(saying) && grepl(saying, conditionMessage(e)))
    if (ours && inherits(e, "error")) "refused" else conditionMessage(e)
  }
  # "works", "refused", or what went wrong.
  outcome <- function(kind) {
    fit <- fit_of(kind)
    # What is deprecated is so between the packages around.
    tryCatch({
      withCallingHandlers(use(fit), lifecycle_warning_deprecated = function(w) {
        tryInvokeRestart("muffleWarning")
      })
      "works"
    }, error = describe, warning = describe)
  }
  for (kind in c(works, refused)) {
    found <- outcome(kind)
    expect_identical(!!found, if (kind %in% works) "works" else "refused",
                     label = paste(tool, "of a fit of kind", kind))
    record_tool(tool, kind, found)
  }
}

is_ours <- function(e) {
  while (!is.null(e)) {
    if (inherits(e, "elbo_error")) return(TRUE)
    e <- e$parent
  }
  FALSE
}

tool_table <- new.env()
tool_table$rows <- list()

record_tool <- function(tool, kind, outcome) {
  tool_table$rows[[length(tool_table$rows) + 1]] <-
    data.frame(tool = tool, kind = kind, outcome = outcome)
}
