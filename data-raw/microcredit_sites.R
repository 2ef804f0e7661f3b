# Writes data/microcredit_sites.rda. Run from the root of the package.
#
# Ordinary least squares of household profit on access to microcredit in each of the seven
# trials of Meager (2019), USD (purchasing power parity) per fortnight, with the usual
# standard errors; the figures as printed by Broderick, Giordano and Meager (2020).
microcredit_sites <- utils::read.csv(text = "
country,     estimate, se
Mexico,        -4.549,  5.879
Mongolia,      -0.341,  0.223
Bosnia,        37.534, 19.780
India,         16.722, 11.830
Morocco,       17.544, 11.401
Philippines,   66.564, 78.127
Ethiopia,       7.289,  7.893
", strip.white = TRUE, stringsAsFactors = TRUE)
# In the order of the publications, not of the alphabet.
microcredit_sites$country <- with(
  microcredit_sites, factor(country, levels = as.character(country))
)
save(microcredit_sites, file = "data/microcredit_sites.rda", compress = "xz", version = 2)
