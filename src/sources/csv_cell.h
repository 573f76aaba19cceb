// csv_cell.h -- the text of a cell as a value of a dtype. Layer: sources.
//
// Numbers are read the same way in every locale. Integers must fit their dtype exactly; floats
// are the nearest to the text (float16 and bfloat16: to the float64 nearest to it, as in NumPy),
// nan, inf and -inf in any case, and too large a number is refused. Spaces around a number are
// ignored. Threads: any thread.
#pragma once
#include <locale.h>

#include "data/dtype.h"
#include "sources/csv_reader.h"

enum { BM_CSV_SHOWN_MAX = 64 };

// A number or bool into `to`. False: the cell is none of this dtype. `c_locale` is the "C" one.
bool bm_csv_cell_number(const struct bm_csv_cell *cell, enum bm_dtype dtype, locale_t c_locale,
                        void *to);
bool bm_csv_cell_is_utf8(const struct bm_csv_cell *cell);
struct bm_csv_cell bm_csv_cell_trim(struct bm_csv_cell cell); // without spaces and tabs around it

// "uint8 (0 to 255)", for errors; `text` has BM_CSV_SHOWN_MAX bytes and is returned.
const char *bm_csv_expected(enum bm_dtype dtype, char *text);
// "\"abc\"" as valid UTF-8 without control characters, cut when long; or "an empty cell".
const char *bm_csv_show(const struct bm_csv_cell *cell, char *text);
