# What tools/check-source sees in parsed R code, in two seconds: the form that lintr asks for
# (`make lint` runs all of lintr, which takes minutes), and how long and how branched functions are.
#
# Usage: Rscript tools/check-source.R FILE...

most_lines <- 49L
most_branches <- 14L # of one function: if, for, while, repeat, && and ||

# Operators that have two operands, and those that may have one.
infix_only <- c("LEFT_ASSIGN", "EQ_ASSIGN", "EQ_SUB", "EQ_FORMALS", "AND2", "OR2", "AND", "OR",
                "EQ", "NE", "LT", "GT", "LE", "GE", "SPECIAL", "PIPE")
either_side <- c("'+'", "'-'", "'*'", "'/'", "'~'")

# Rows of the terminals `wrong`, with what is wrong with them.
told <- function(at, wrong, what) {
  if (any(wrong)) sprintf("%d: %s", at$line1[wrong], rep_len(what, length(wrong))[wrong])
}

form <- function(data) {
  at <- data[data$terminal & data$token != "COMMENT", ]
  before <- c("", at$token[-nrow(at)])
  # Blanks before each terminal, Inf at the beginning of a line.
  last <- nrow(at)
  gap <- c(Inf, ifelse(at$line1[-1] > at$line2[-last], Inf, at$col1[-1] - at$col2[-last] - 1))
  gap_after <- c(gap[-1], Inf)
  siblings <- table(data$parent)[as.character(at$parent)]
  infix <- at$token %in% either_side & siblings == 3L | at$token %in% infix_only
  left_open <- before == "EQ_SUB" # as in switch(x, a = , b = 1)
  c(told(at, infix & (gap == 0 | is.finite(gap) & gap > 1 | gap_after == 0),
         sprintf("one blank around %s", at$text)),
    told(at, at$token == "SYMBOL" & at$text %in% c("T", "F") & before != "'$'",
         "TRUE and FALSE in full"),
    told(at, at$token == "EQ_ASSIGN", "<- assigns"),
    told(at, at$token == "';'", "one statement a line"),
    told(at, at$token == "STR_CONST" & grepl("^'", at$text) & !grepl("\"", at$text), "use \""),
    told(at, at$token == "','" & is.finite(gap) & gap > 0 & before != "','" & !left_open,
         "no blank before a comma"),
    told(at, before == "','" & gap == 0 & !at$token %in% c("')'", "']'", "','"),
         "a blank after a comma"),
    told(at, at$token %in% c("')'", "']'") & is.finite(gap) & gap > 0 & before != "','" &
           !left_open, "no blank before ) or ]"),
    told(at, before %in% c("'('", "'['", "LBB") & is.finite(gap) & gap > 0,
         "no blank after ( or ["),
    told(at, at$token == "'('" & gap > 0 & before == "SYMBOL_FUNCTION_CALL", "no blank before ("),
    told(at, at$token == "'{'" & gap == 0 & before == "')'", "a blank before {"))
}

functions <- function(data) {
  keyword <- data[data$token %in% c("FUNCTION", "'\\\\'"), ]
  whole <- data[match(keyword$parent, data$id), ]
  long <- whole$line2 - whole$line1 + 1L
  branches <- data$line1[data$token %in% c("IF", "FOR", "WHILE", "REPEAT", "AND2", "OR2")]
  branched <- mapply(function(from, to) sum(branches >= from & branches <= to), whole$line1,
                     whole$line2)
  c(told(whole, long > most_lines, sprintf("a function of %d lines", long)),
    told(whole, branched > most_branches, sprintf("a function of %d branches", branched)))
}

found <- unlist(lapply(commandArgs(TRUE), function(file) {
  data <- utils::getParseData(parse(file, keep.source = TRUE))
  if (is.null(data)) return()
  blanks <- grep("[ \t]$|\t", readLines(file))
  told <- c(form(data), functions(data),
            sprintf("%d: blanks at the end, or a tab", blanks))
  if (length(told) > 0) paste0(file, ":", told)
}))
if (length(found) > 0) writeLines(found)
quit(status = length(found) > 0)
