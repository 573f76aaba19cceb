// report.c -- medians of the rounds, ratios, and whether the goals are met.
//
// A ratio is the median of the rounds' own ratios: its two figures were measured within seconds of
// each other, so what slows the machine down for a while hits both, and cancels out.
#include <math.h>
#include <stdlib.h>

#include "bench/bench.h"

struct line {
    const struct bench_figure *figure;
    const struct bench_goal *goal; // NULL: only the value
    double value, ratio;           // NAN: not measured
    char name[64], to[64];
};

// A figure that is one of several under a name says which.
static void line_label(const struct bench_figure *figure, char *text, size_t size)
{
    const char *part = figure->part;
    snprintf(text, size, "%s%s%s", figure->name, part == NULL ? "" : ": ",
             part == NULL ? "" : part);
}

static int number_compare(const void *a, const void *b)
{
    const double *left = a, *right = b;
    return (*left > *right) - (*left < *right);
}

// Of those that are numbers; NAN when there is none.
static double median(const double *values, unsigned n)
{
    double sorted[BENCH_ROUNDS_MAX];
    unsigned nsorted = 0;
    for (unsigned i = 0; i < n; i++) {
        if (!isnan(values[i]))
            sorted[nsorted++] = values[i];
    }
    if (nsorted == 0)
        return NAN;
    qsort(sorted, nsorted, sizeof sorted[0], number_compare);
    return (sorted[(nsorted - 1) / 2] + sorted[nsorted / 2]) / 2;
}

static struct line line_make(const struct bench_figure *figure, const struct bench_goal *goal)
{
    struct line line = {.figure = figure, .goal = goal, .ratio = NAN};
    line.value = median(figure->values, figure->nrounds);
    line_label(figure, line.name, sizeof line.name);
    if (goal == NULL)
        return line;
    const struct bench_figure *to = goal->to < 0 ? NULL : &bench_figures[goal->to];
    if (to == NULL)
        snprintf(line.to, sizeof line.to, "%s", goal->to_text);
    else
        line_label(to, line.to, sizeof line.to);
    double ratios[BENCH_ROUNDS_MAX];
    for (unsigned i = 0; i < figure->nrounds; i++)
        ratios[i] = figure->values[i] / (to == NULL ? goal->constant : to->values[i]);
    line.ratio = median(ratios, figure->nrounds);
    return line;
}

static bool line_has_goal(const struct line *line)
{
    return line->goal != NULL && line->goal->goal > 0;
}

static bool line_met(const struct line *line)
{
    return line->goal->at_most ? line->ratio <= line->goal->goal : line->ratio >= line->goal->goal;
}

static bool line_broken(const struct line *line)
{
    if (line->goal == NULL || !line->goal->guarded)
        return false;
    double least = line->goal->at_most ? 1 / (2 * line->goal->goal) : line->goal->goal / 2;
    return !((line->goal->at_most ? 1 / line->ratio : line->ratio) >= least); // also when NAN
}

// ---- As a table ----

static const char *met_text(const struct line *line)
{
    if (isnan(line->ratio))
        return "-";
    return line_met(line) ? "yes" : line_broken(line) ? "no, not even half" : "no";
}

static void table_print(const struct line *line)
{
    const struct bench_figure *figure = line->figure;
    printf("%-36s", line->name);
    if (isnan(line->value)) {
        printf(" not measured: %s\n", figure->why);
        return;
    }
    printf(" %10.5g %-14s", line->value, figure->unit);
    if (!isnan(line->ratio))
        printf(" %8.3g of %-26s", line->ratio, line->to);
    else if (line->goal != NULL)
        printf(" %8s of %-26s", "-", line->to);
    if (line_has_goal(line))
        printf(" %s %-5g %s", line->goal->at_most ? "<=" : ">=", line->goal->goal, met_text(line));
    printf("\n");
}

// ---- As JSON ----

// Names, units and texts of the table hold nothing to escape; what a program said may.
static void json_text(const char *key, const char *text)
{
    printf("\"%s\":\"", key);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            putchar('\\');
        putchar((unsigned char)*text < ' ' ? ' ' : *text);
    }
    printf("\"");
}

static void json_number(const char *key, double value)
{
    if (isfinite(value))
        printf(",\"%s\":%.6g", key, value);
    else
        printf(",\"%s\":null", key);
}

static void json_print(const struct line *line)
{
    const struct bench_figure *figure = line->figure;
    bool has_goal = line_has_goal(line);
    printf("{");
    json_text("name", figure->name);
    if (figure->part != NULL) {
        printf(",");
        json_text("part", figure->part);
    }
    json_number("value", line->value);
    printf(",");
    json_text("unit", figure->unit);
    json_number("ratio", line->ratio);
    printf(",");
    if (line->goal == NULL)
        printf("\"ratio_to\":null");
    else
        json_text("ratio_to", line->to);
    json_number("goal", has_goal ? line->goal->goal : NAN);
    if (has_goal)
        printf(",\"goal_is\":\"%s\"", line->goal->at_most ? "at most" : "at least");
    printf(",\"met\":%s",
           !has_goal || isnan(line->ratio) ? "null" : (line_met(line) ? "true" : "false"));
    if (isnan(line->value)) {
        printf(",");
        json_text("not_measured", figure->why);
    }
    printf("}\n");
}

// ---- All ----

static bool report_line(const struct line *line, bool json)
{
    if (json)
        json_print(line);
    else
        table_print(line);
    return !line_broken(line);
}

bool bench_report(bool json)
{
    bool fine = true;
    if (!json)
        printf("%-36s %10s %-14s %8s    %-26s %-8s %s\n", "row", "value", "unit", "ratio", "to",
               "goal", "met");
    for (unsigned i = 0; i < bench_nfigures; i++) {
        const struct bench_figure *figure = &bench_figures[i];
        unsigned nlines = 0;
        for (unsigned j = 0; j < bench_ngoals && figure->wanted; j++) {
            const struct bench_goal *goal = &bench_goals[j];
            if (goal->figure != i || (goal->to >= 0 && !bench_figures[goal->to].wanted))
                continue;
            struct line line = line_make(figure, goal);
            fine = report_line(&line, json) && fine;
            nlines++;
        }
        if (figure->wanted && nlines == 0) {
            struct line line = line_make(figure, NULL);
            report_line(&line, json);
        }
    }
    return fine;
}
