# README.md from README.Rmd, with its figure.
#
#   Rscript data-raw/readme.R   (from the root of the checkout, the package installed)

library(elbo)
source("demo/figures.R")

set.seed(1)
simulated <- do.call(rbind, lapply(c(10, 30, 100, 300, 1000, 3000), estimate_pairs, times = 200))
reml <- fit_glmm(estimate ~ 1 + (1 | country), microcredit_sites, se = se, method = "reml")

dir.create("man/figures", showWarnings = FALSE, recursive = TRUE)
png("man/figures/README.png", width = 1600, height = 640, res = 160, type = "cairo")
par(mfrow = c(1, 2))
plot_paradox(simulated)
plot_shrinkage(reml)
invisible(dev.off())

text <- knitr::knit(text = readLines("data-raw/README.Rmd", encoding = "UTF-8"), quiet = TRUE)
# Without the empty lines that knitr adds.
text <- strsplit(gsub("\n{3,}", "\n\n", trimws(text)), "\n", fixed = TRUE)[[1]]
writeLines(text[!startsWith(text, "<!--")][-1], "README.md")
