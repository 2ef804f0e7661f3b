# bench/ecosystem.md, from what the tests of the packages around (tools/ecosystem.R) have recorded.
files <- Sys.glob(".build/ecosystem/*.csv")
rows <- do.call(rbind, lapply(files, utils::read.csv, colClasses = "character"))
kinds <- c(
  em = "mixed em", reml = "mixed reml", vb = "mixed vb", joint = "mixed joint",
  meta = "meta-analysis", regression = "regressions", regression_vb = "regressions vb",
  poisson = "counts", normal = "normal", classes = "classes", curves = "curves"
)
tools <- unique(rows[c("package", "version", "tool")])
tools <- tools[order(tolower(tools$package)), ]
outcome <- matrix("\u2013", nrow(tools), length(kinds), dimnames = list(NULL, names(kinds)))
key <- function(x) paste(x$package, x$tool)
outcome[cbind(match(key(rows), key(tools)), match(rows$kind, names(kinds)))] <- rows$outcome
wrong <- !outcome %in% c("works", "refused", "\u2013")
outcome[wrong] <- "FAILS"

first <- !duplicated(tools$package)
package <- ifelse(first, paste(tools$package, tools$version), "")
line <- function(cells) paste0("| ", paste(cells, collapse = " | "), " |")
writeLines(enc2utf8(c(
  "# The packages around",
  "",
  paste("What each tool does with each kind of fit: *works*, is *refused* by an error of ours that",
        "says why and what to call instead, or is not applicable (\u2013). Mixed models by each",
        "method, a meta-analysis, mixtures of regressions, of counts, of multivariate normals, of",
        "latent classes and of curves. Where lmer has the same fit, the tests compare the",
        "numbers."),
  "",
  sprintf("Written by `tools/ecosystem-current` from `tests/ecosystem` on %s.",
          R.version.string),
  "",
  line(c("package", "tool", kinds)),
  line(rep("---", length(kinds) + 2)),
  apply(cbind(package, paste0("`", tools$tool, "`"), outcome), 1, line)
)), "bench/ecosystem.md", useBytes = TRUE)
