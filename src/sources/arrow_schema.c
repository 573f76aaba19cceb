#include "sources/arrow_schema.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "sources/file.h"

enum { FIELDS_MAX = 1 << 16, DEPTH_MAX = 64, COLUMN_SHOWN_MAX = 48 };

// Slots of the tables in Schema.fbs, and the numbers of its union Type.
enum { SCHEMA_ENDIANNESS, SCHEMA_FIELDS };
enum { FIELD_NAME = 0, FIELD_TYPE_TYPE = 2, FIELD_TYPE, FIELD_DICTIONARY, FIELD_CHILDREN };
enum { DICTIONARY_ID, DICTIONARY_INDEX_TYPE };
enum type {
    TYPE_NULL = 1,
    TYPE_INT,
    TYPE_FLOAT,
    TYPE_BINARY,
    TYPE_UTF8,
    TYPE_BOOL,
    TYPE_DECIMAL,
    TYPE_DATE,
    TYPE_TIME,
    TYPE_TIMESTAMP,
    TYPE_INTERVAL,
    TYPE_LIST,
    TYPE_STRUCT,
    TYPE_UNION,
    TYPE_FIXED_BINARY,
    TYPE_FIXED_LIST,
    TYPE_MAP,
    TYPE_DURATION,
    TYPE_LARGE_BINARY,
    TYPE_LARGE_UTF8,
    TYPE_LARGE_LIST,
    TYPES
};

static const char *const type_names[] = {"none",
                                         "null",
                                         "an integer",
                                         "a float",
                                         "binary",
                                         "utf8",
                                         "bool",
                                         "decimal",
                                         "date",
                                         "time",
                                         "timestamp",
                                         "interval",
                                         "list",
                                         "struct",
                                         "union",
                                         "fixed_size_binary",
                                         "fixed_size_list",
                                         "map",
                                         "duration",
                                         "large_binary",
                                         "large_utf8",
                                         "large_list"};

// Buffers that a field of the type has, apart from its children's; -1: these numbers depend on the
// version of the format, or on the batch.
static const int type_buffers[TYPES] = {-1, 0, 2, 2,  3, 3, 2, 2, 2, 2, 2,
                                        2,  2, 1, -1, 2, 1, 2, 2, 3, 3, 2};

struct walk { // over all fields, depth first
    struct bm_flat *flat;
    const char *name; // of the file
    const char *where;
    const struct bm_text_map *components;
    struct bm_arrow_schema *schema;
    char column[COLUMN_SHOWN_MAX + 1]; // the outermost field, for errors
    unsigned nfields;
    struct bm_error *err;
};

static enum bm_status walk_bad(const struct walk *walk)
{
    return bm_fail(walk->err, BM_DATA_LOSS, walk->name,
                   "expected a valid schema of an Arrow file, got offsets that lead nowhere");
}

static enum bm_status walk_refuse(const struct walk *walk, const char *what)
{
    char where[BM_ERROR_WHERE_MAX];
    return bm_fail(
        walk->err, BM_UNIMPLEMENTED, bm_file_where(walk->name, where, "column %s", walk->column),
        "expected integers, floats, bool, utf8, binary, date, timestamp, a dictionary "
        "of utf8, or lists of numbers, got %s%s",
        what, walk->components->n == 0 ? ": name the columns to take in `components`" : "");
}

static enum type field_type(const struct bm_flat_table *field)
{
    return (enum type)(bm_flat_integer(field, FIELD_TYPE_TYPE, 1, 0) & 0xff);
}

static const char *type_name(enum type type)
{
    return type < TYPES ? type_names[type] : "a type of a newer format";
}

// ---- Counting ----

static enum bm_status walk_count(struct walk *walk, const struct bm_flat_table *field,
                                 unsigned depth)
{
    enum type type = field_type(field);
    struct bm_flat_table dictionary = bm_flat_child(field, FIELD_DICTIONARY);
    struct bm_flat_vector children = bm_flat_vector(field, FIELD_CHILDREN, 4);
    if (walk->flat->bad)
        return walk_bad(walk);
    if (++walk->nfields > FIELDS_MAX || depth == DEPTH_MAX)
        return bm_fail(walk->err, BM_INVALID_ARGUMENT, walk->name,
                       "expected at most %d fields, %d deep, got more", FIELDS_MAX, DEPTH_MAX);
    walk->schema->nnodes++;
    if (dictionary.at != 0) {
        walk->schema->nbuffers += 2; // its indices; the values are elsewhere
        return BM_OK;
    }
    if (type >= TYPES || type_buffers[type] < 0) {
        char where[BM_ERROR_WHERE_MAX];
        return bm_fail(walk->err, BM_UNIMPLEMENTED,
                       bm_file_where(walk->name, where, "column %s", walk->column),
                       "expected a file without columns of this type, as the others cannot be "
                       "found behind it, got %s",
                       type_name(type));
    }
    walk->schema->nbuffers += (uint64_t)type_buffers[type];
    enum bm_status status = BM_OK;
    for (uint64_t i = 0; i < children.n && status == BM_OK; i++) {
        struct bm_flat_table child = bm_flat_vector_table(walk->flat, children, i);
        status = walk_count(walk, &child, depth + 1);
    }
    return status;
}

// ---- One column ----

static enum bm_dtype integer_dtype(const struct bm_flat_table *type)
{
    static const enum bm_dtype dtypes[2][4] = {{BM_UINT8, BM_UINT16, BM_UINT32, BM_UINT64},
                                               {BM_INT8, BM_INT16, BM_INT32, BM_INT64}};
    bool is_signed = bm_flat_integer(type, 1, 1, 0) != 0;
    switch (bm_flat_integer(type, 0, 4, 0)) {
    case 8:
        return dtypes[is_signed][0];
    case 16:
        return dtypes[is_signed][1];
    case 32:
        return dtypes[is_signed][2];
    case 64:
        return dtypes[is_signed][3];
    default:
        return BM_DTYPE_NONE;
    }
}

// False: a unit that nobody knows.
static bool column_time(struct bm_arrow_column *column, const struct bm_flat_table *type,
                        bool is_date)
{
    static const int64_t factors[] = {1000000000, 1000000, 1000, 1};
    int64_t unit = bm_flat_integer(type, 0, 2, is_date);
    column->component.dtype = column->stored = BM_INT64;
    column->factor = column->divisor = 1;
    column->kind = is_date ? BM_ARROW_DATE : BM_ARROW_TIME;
    if (is_date && unit == 0)
        column->stored = BM_INT32;
    else if (is_date)
        column->divisor = 86400000; // date64 has milliseconds
    else if (unit >= 0 && unit < 4)
        column->factor = factors[unit];
    return unit >= 0 && unit < (is_date ? 2 : 4);
}

static bool column_code(struct bm_arrow_column *column, const struct bm_flat_table *field,
                        const struct bm_flat_table *dictionary)
{
    struct bm_flat_table index = bm_flat_child(dictionary, DICTIONARY_INDEX_TYPE);
    enum type type = field_type(field);
    column->kind = BM_ARROW_CODE;
    column->component.dtype = BM_INT64;
    column->stored = index.at == 0 ? BM_INT32 : integer_dtype(&index);
    column->dictionary = bm_flat_integer(dictionary, DICTIONARY_ID, 8, 0);
    column->name_bytes = type == TYPE_LARGE_UTF8 ? 8 : 4;
    return column->stored != BM_DTYPE_NONE && (type == TYPE_UTF8 || type == TYPE_LARGE_UTF8);
}

// What is not a list. False: there is no dtype for it.
static bool column_leaf(struct bm_arrow_column *column, const struct bm_flat_table *field)
{
    static const enum bm_dtype floats[] = {BM_FLOAT16, BM_FLOAT32, BM_FLOAT64};
    struct bm_flat_table dictionary = bm_flat_child(field, FIELD_DICTIONARY);
    struct bm_flat_table type = bm_flat_child(field, FIELD_TYPE);
    int64_t precision = bm_flat_integer(&type, 0, 2, 0);
    if (dictionary.at != 0)
        return column_code(column, field, &dictionary);
    switch ((unsigned)field_type(field)) {
    case TYPE_INT:
        column->component.dtype = integer_dtype(&type);
        break;
    case TYPE_FLOAT:
        column->component.dtype =
            precision >= 0 && precision < 3 ? floats[precision] : BM_DTYPE_NONE;
        break;
    case TYPE_BOOL:
        column->component.dtype = BM_BOOL;
        column->kind = BM_ARROW_BITS;
        break;
    case TYPE_DATE:
        return column_time(column, &type, true);
    case TYPE_TIMESTAMP:
        return column_time(column, &type, false);
    default:
        return false;
    }
    column->stored = column->component.dtype;
    return column->component.dtype != BM_DTYPE_NONE;
}

// Texts, which are no rows of lists. False: it is none.
static bool column_text(struct bm_arrow_column *column, enum type type)
{
    bool large = type == TYPE_LARGE_BINARY || type == TYPE_LARGE_UTF8;
    bool string = type == TYPE_UTF8 || type == TYPE_LARGE_UTF8;
    if (!large && !string && type != TYPE_BINARY)
        return false;
    column->component.dtype = column->stored = string ? BM_STRING : BM_BYTES;
    column->component.ragged = true;
    column->offset_bytes = large ? 8 : 4;
    return true;
}

// The only child of a list; one that is absent is refused by its reader.
static struct bm_flat_table field_child(struct walk *walk, const struct bm_flat_table *field)
{
    struct bm_flat_vector children = bm_flat_vector(field, FIELD_CHILDREN, 4);
    if (children.n != 1)
        return (struct bm_flat_table){.flat = walk->flat};
    return bm_flat_vector_table(walk->flat, children, 0);
}

static enum bm_status column_levels(struct walk *walk, struct bm_arrow_column *column,
                                    struct bm_flat_table *field)
{
    struct bm_component *component = &column->component;
    while (bm_flat_child(field, FIELD_DICTIONARY).at == 0 && field_type(field) == TYPE_FIXED_LIST) {
        struct bm_flat_table type = bm_flat_child(field, FIELD_TYPE);
        int64_t length = bm_flat_integer(&type, 0, 4, 0);
        if (length <= 0 || component->ndim == BM_NDIM_MAX)
            return walk_refuse(walk, length <= 0 ? "lists of length 0" : "too many lists in lists");
        column->level_sizes[column->nlevels++] = (uint64_t)length;
        component->shape[component->ndim++] = (uint64_t)length;
        *field = field_child(walk, field);
    }
    return BM_OK;
}

static enum bm_status column_parse(struct walk *walk, struct bm_arrow_column *column,
                                   struct bm_flat_table field)
{
    enum type type = field_type(&field);
    bool coded = bm_flat_child(&field, FIELD_DICTIONARY).at != 0;
    if (!coded && column_text(column, type))
        return BM_OK;
    if (!coded && (type == TYPE_LIST || type == TYPE_LARGE_LIST)) {
        column->offset_bytes = type == TYPE_LIST ? 4 : 8;
        column->component.ragged = true;
        column->component.ndim = 1;
        field = field_child(walk, &field);
    }
    enum bm_status status = column_levels(walk, column, &field);
    if (status != BM_OK)
        return status;
    if (column_leaf(column, &field))
        return walk->flat->bad ? walk_bad(walk) : BM_OK;
    char what[2 * COLUMN_SHOWN_MAX];
    bool inner = type != field_type(&field) || column->component.ndim > 0;
    snprintf(what, sizeof what, "%s%s%s", inner ? "lists of " : "",
             bm_flat_child(&field, FIELD_DICTIONARY).at != 0 ? "a dictionary of " : "",
             type_name(field_type(&field)));
    return walk->flat->bad ? walk_bad(walk) : walk_refuse(walk, what);
}

// ---- All columns ----

static enum bm_status walk_take(struct walk *walk, unsigned c, const char *component_name,
                                const struct bm_flat_table *field, unsigned node, unsigned buffer)
{
    struct bm_arrow_column *column = &walk->schema->columns[c];
    char where[BM_ERROR_WHERE_MAX];
    bm_file_where(walk->name, where, "column %s", walk->column);
    if (column->component.name[0] != '\0')
        return bm_fail(walk->err, BM_INVALID_ARGUMENT, where,
                       "expected one column of this name, got several");
    if (!bm_name_valid(component_name))
        return bm_fail(walk->err, BM_INVALID_ARGUMENT, where,
                       "expected a component name of " BM_NAME_RULE
                       ": give `components` and name it there");
    memcpy(column->component.name, component_name, strlen(component_name) + 1);
    column->node = node;
    column->buffer = buffer;
    return column_parse(walk, column, *field);
}

// The name as a text that shows in errors: cut, and without what is not UTF-8.
static void walk_show(struct walk *walk, const char *name, uint64_t size)
{
    size_t shown = size < COLUMN_SHOWN_MAX ? size : COLUMN_SHOWN_MAX;
    while (shown > 0 && !bm_utf8_valid(name, shown))
        shown--;
    memcpy(walk->column, name, shown);
    walk->column[shown] = '\0';
    for (size_t i = 0; i < shown; i++) {
        if ((unsigned char)walk->column[i] < ' ')
            walk->column[i] = '?';
    }
}

static enum bm_status walk_field(struct walk *walk, unsigned i, const struct bm_flat_table *field)
{
    const struct bm_text_map *map = walk->components;
    struct bm_flat_vector text = bm_flat_vector(field, FIELD_NAME, 1);
    const char *name = (const char *)walk->flat->data + text.at;
    walk_show(walk, name, text.n);
    unsigned node = (unsigned)walk->schema->nnodes, buffer = (unsigned)walk->schema->nbuffers;
    enum bm_status status = walk_count(walk, field, 0);
    if (status != BM_OK)
        return status;
    if (map->n == 0) {
        char own[BM_NAME_MAX + 1] = "";
        if (text.n <= BM_NAME_MAX)
            memcpy(own, name, text.n);
        return walk_take(walk, i, own, field, node, buffer);
    }
    for (unsigned c = 0; c < map->n && status == BM_OK; c++) {
        if (strlen(map->values[c]) == text.n && memcmp(map->values[c], name, text.n) == 0)
            status = walk_take(walk, c, map->keys[c], field, node, buffer);
    }
    return status;
}

static enum bm_status walk_all(struct walk *walk, struct bm_flat_vector fields)
{
    struct bm_arrow_schema *schema = walk->schema;
    const struct bm_text_map *map = walk->components;
    uint64_t n = map->n > 0 ? map->n : fields.n;
    if (n == 0 || n > BM_COMPONENTS_MAX)
        return bm_fail(walk->err, BM_INVALID_ARGUMENT, walk->name,
                       "expected 1 to %d columns, got %" PRIu64 ": name some in `components`",
                       BM_COMPONENTS_MAX, n);
    schema->columns = calloc(n, sizeof *schema->columns);
    if (schema->columns == NULL)
        return bm_fail(walk->err, BM_RESOURCE_EXHAUSTED, walk->name, "out of memory");
    schema->ncolumns = (unsigned)n;
    enum bm_status status = BM_OK;
    for (uint64_t i = 0; i < fields.n && status == BM_OK; i++) {
        struct bm_flat_table field = bm_flat_vector_table(walk->flat, fields, i);
        status = walk_field(walk, (unsigned)i, &field);
    }
    for (unsigned c = 0; c < map->n && status == BM_OK; c++) {
        char where[BM_ERROR_WHERE_MAX];
        if (schema->columns[c].component.name[0] == '\0')
            status = bm_fail(
                walk->err, BM_INVALID_ARGUMENT, bm_params_where(walk->where, "components", where),
                "expected names of columns in %.80s, got \"%.80s\"", walk->name, map->values[c]);
    }
    return status;
}

enum bm_status bm_arrow_schema_parse(const struct bm_flat_table *table,
                                     const struct bm_text_map *components, const char *name,
                                     const char *where, struct bm_arrow_schema *ret_schema,
                                     struct bm_error *err)
{
    struct bm_arrow_schema schema = {0};
    struct walk walk = {.flat = table->flat,
                        .name = name,
                        .where = where,
                        .components = components,
                        .schema = &schema,
                        .err = err};
    bool big_endian = bm_flat_integer(table, SCHEMA_ENDIANNESS, 2, 0) != 0;
    struct bm_flat_vector fields = bm_flat_vector(table, SCHEMA_FIELDS, 4);
    if (table->at == 0 || walk.flat->bad)
        return walk_bad(&walk);
    if (big_endian)
        return bm_fail(err, BM_UNIMPLEMENTED, name,
                       "expected little-endian values, got big-endian ones: write the file again "
                       "on a little-endian machine");
    enum bm_status status = walk_all(&walk, fields);
    if (status == BM_OK)
        *ret_schema = schema;
    else
        bm_arrow_schema_free(&schema);
    return status;
}

void bm_arrow_schema_free(struct bm_arrow_schema *schema)
{
    free(schema->columns);
    *schema = (struct bm_arrow_schema){0};
}
