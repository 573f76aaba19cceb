#include "sources/csv_date.h"

#include "sources/csv_cell.h"

#define NS_OF_SECOND INT64_C(1000000000)
enum { DATE_SIZE = 10, DAY_SECONDS = 86400 };

struct text {
    const char *at, *end;
};

// Exactly `n` digits.
static bool text_number(struct text *text, unsigned n, unsigned *ret_number)
{
    unsigned number = 0;
    if ((uint64_t)(text->end - text->at) < n)
        return false;
    for (; n > 0; n--, text->at++) {
        unsigned digit = (unsigned char)*text->at - (unsigned)'0';
        if (digit > 9)
            return false;
        number = number * 10 + digit;
    }
    *ret_number = number;
    return true;
}

static bool text_skip(struct text *text, char expected)
{
    if (text->at == text->end || *text->at != expected)
        return false;
    text->at++;
    return true;
}

static unsigned month_days(unsigned year, unsigned month)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (unsigned)(month == 2 && leap);
}

// Years begin in March here, so that a leap day is the last of its year.
static int64_t days_since_epoch(unsigned year, unsigned month, unsigned day)
{
    int64_t years = (int64_t)year - (month <= 2);
    int64_t months = (month + 9) % 12; // since March
    int64_t day_of_year = (153 * months + 2) / 5 + day - 1;
    int64_t days = years * 365 + years / 4 - years / 100 + years / 400 + day_of_year;
    return days - 719468; // from 0000-03-01 to 1970-01-01
}

static bool text_date(struct text *text, int64_t *ret_days)
{
    unsigned year, month, day;
    if (!text_number(text, 4, &year) || !text_skip(text, '-') || !text_number(text, 2, &month) ||
        !text_skip(text, '-') || !text_number(text, 2, &day))
        return false;
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > month_days(year, month))
        return false;
    *ret_days = days_since_epoch(year, month, day);
    return true;
}

static bool text_fraction(struct text *text, int64_t *ret_ns)
{
    int64_t unit = NS_OF_SECOND, ns = 0;
    const char *start = text->at;
    for (; text->at < text->end && *text->at >= '0' && *text->at <= '9' && unit > 1; text->at++) {
        unit /= 10;
        ns += (*text->at - '0') * unit;
    }
    *ret_ns = ns;
    return text->at > start;
}

static bool text_time(struct text *text, int64_t *ret_seconds, int64_t *ret_ns)
{
    unsigned hour, minute, second = 0;
    if (!text_number(text, 2, &hour) || !text_skip(text, ':') || !text_number(text, 2, &minute))
        return false;
    if (text_skip(text, ':')) {
        if (!text_number(text, 2, &second))
            return false;
        if (text_skip(text, '.') && !text_fraction(text, ret_ns))
            return false;
    }
    *ret_seconds = (int64_t)hour * 3600 + (int64_t)minute * 60 + second;
    return hour < 24 && minute < 60 && second < 60;
}

static bool text_offset(struct text *text, int64_t *ret_seconds)
{
    unsigned hour, minute;
    if (text->at == text->end || text_skip(text, 'Z'))
        return true;
    bool negative = text_skip(text, '-');
    if (!negative && !text_skip(text, '+'))
        return false;
    if (!text_number(text, 2, &hour))
        return false;
    text_skip(text, ':');
    if (!text_number(text, 2, &minute) || hour > 23 || minute > 59)
        return false;
    int64_t seconds = (int64_t)hour * 3600 + (int64_t)minute * 60;
    *ret_seconds = negative ? -seconds : seconds;
    return true;
}

bool bm_csv_cell_date(const struct bm_csv_cell *cell, int64_t *ret_days)
{
    struct bm_csv_cell trimmed = bm_csv_cell_trim(*cell);
    struct text text = {.at = trimmed.data, .end = trimmed.data + trimmed.size};
    return trimmed.size == DATE_SIZE && text_date(&text, ret_days);
}

bool bm_csv_cell_datetime(const struct bm_csv_cell *cell, int64_t *ret_ns)
{
    struct bm_csv_cell trimmed = bm_csv_cell_trim(*cell);
    struct text text = {.at = trimmed.data, .end = trimmed.data + trimmed.size};
    int64_t days, seconds = 0, ns = 0, offset = 0;
    if (!text_date(&text, &days))
        return false;
    if (text.at < text.end) {
        if (!text_skip(&text, 'T') && !text_skip(&text, ' '))
            return false;
        if (!text_time(&text, &seconds, &ns) || !text_offset(&text, &offset))
            return false;
    }
    seconds += days * DAY_SECONDS - offset;
    // The outermost seconds that int64 could say are left out, so that no sum overflows.
    if (text.at < text.end || seconds > INT64_MAX / NS_OF_SECOND - 1 ||
        seconds < INT64_MIN / NS_OF_SECOND + 1)
        return false;
    *ret_ns = seconds * NS_OF_SECOND + ns;
    return true;
}
