// The action jitter of ../c/example.c in C++: the same bytes for the same seed.
//
//     c++ -shared -fPIC -O2 example.cpp -o example.so
#include <batchmill/plugin.h>
#include <cmath>
#include <new>

namespace
{

struct Jitter {
    int component;
    double amount;
};

// Nothing may be thrown across the plug-in's border: every way in ends what it began.
bool jitter_open(batchmill_setup *setup, void **ret_self) noexcept
{
    Jitter *jitter = new (std::nothrow) Jitter{};
    if (jitter == nullptr)
        return batchmill_refuse(setup, "out of memory");
    struct batchmill_component component;
    int from = batchmill_require(setup, "component", 0);
    batchmill_component(setup, from, &component);
    if (from >= 0 && component.dtype != BATCHMILL_FLOAT32)
        batchmill_refuse(setup, "expected a float32 component, got %s", component.name);
    batchmill_keep_all(setup);
    jitter->component = batchmill_write(setup, &component, from);
    jitter->amount = batchmill_param_number(setup, "amount", 0);
    *ret_self = jitter;
    return true;
}

void jitter_close(void *self) noexcept
{
    delete static_cast<Jitter *>(self);
}

batchmill_result jitter_run(batchmill_call *call) noexcept
{
    const Jitter *jitter = static_cast<const Jitter *>(call->self);
    for (uint64_t item = call->first; item < call->first + call->count; item++) {
        struct batchmill_random random = batchmill_random(call, item);
        uint64_t n;
        auto from =
            static_cast<const float *>(batchmill_input(call, jitter->component, item, 1, &n));
        auto to = static_cast<float *>(batchmill_output(call, jitter->component, item, 1, &n));
        for (uint64_t i = 0; i < n; i++) {
            if (std::isnan(from[i]))
                return batchmill_fail(call, static_cast<int64_t>(item),
                                      "element %llu is not a number",
                                      static_cast<unsigned long long>(i));
            to[i] = from[i] + static_cast<float>(jitter->amount *
                                                 (2 * batchmill_random_uniform(&random) - 1));
        }
    }
    return BATCHMILL_RESULT_OK;
}

// name, doc, kind, required, fallback, min, max, choices
const batchmill_param jitter_params[] = {
    {"component", "the float32 component to change", BATCHMILL_PARAM_NAME, true, nullptr, 0, 0,
     nullptr},
    {"amount", "the most that is added or taken away", BATCHMILL_PARAM_FLOAT, false, "0.1", 0, 1e6,
     nullptr},
};

batchmill_action_type make_jitter()
{
    batchmill_action_type type{};
    type.size = sizeof type;
    type.name = "jitter";
    type.doc = "Adds a random number to every element of a float32 component.";
    type.flags = BATCHMILL_RANDOM | BATCHMILL_IN_PLACE;
    type.nparams = sizeof jitter_params / sizeof jitter_params[0];
    type.params = jitter_params;
    type.open = jitter_open;
    type.close = jitter_close;
    type.run = jitter_run;
    return type;
}

const batchmill_action_type jitter = make_jitter();
const batchmill_action_type *const actions[] = {&jitter, nullptr};
const struct batchmill_plugin plugin = {BATCHMILL_PLUGIN_HEAD, "example-cpp", "1.0", actions,
                                        nullptr};

} // namespace

extern "C" const struct batchmill_plugin *batchmill_plugin(unsigned abi)
{
    return abi >= BATCHMILL_PLUGIN_ABI ? &plugin : nullptr;
}
