// csv_date.h -- the text of a cell as a date or a point in time of ISO 8601. Layer: sources.
//
// The proleptic Gregorian calendar, years 0001 to 9999. Spaces around are ignored.
// Threads: any thread.
#pragma once
#include "sources/csv_reader.h"

// What stands for no date: NumPy's NaT.
#define BM_CSV_NO_TIME INT64_MIN

// "2013-01-31" as days since 1970-01-01. False: the cell is no date.
bool bm_csv_cell_date(const struct bm_csv_cell *cell, int64_t *ret_days);
// A date, or a date, T or a space, hh:mm, perhaps :ss and a fraction of at most 9 digits, perhaps
// Z or +hh:mm, as nanoseconds since 1970-01-01 00:00 UTC. Without an offset it is taken as UTC.
// False: it is none, or lies outside of 1677-09-21 to 2262-04-11, which int64 can say.
bool bm_csv_cell_datetime(const struct bm_csv_cell *cell, int64_t *ret_ns);
