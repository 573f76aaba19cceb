#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "client/c/internal.h"
#include "net/socket.h"
#include "net/tls.h"

enum {
    TIMEOUT_MS = 10000,
    ALTERED_PAUSE_MS = 10, // before asking again for what was altered on its way; doubles
};

#define NS_PER_MS UINT64_C(1000000)

#define MESSAGE_BYTES_MAX (UINT64_C(1) << 30)

const char *batchmill_version(void)
{
    return BM_VERSION;
}

// ---- Small things that all files use ----

bool bm_client_forked(const struct batchmill_client *client)
{
    return getpid() != client->pid;
}

enum batchmill_code bm_client_check(const struct batchmill_client *client,
                                    struct batchmill_error *error)
{
    if (client == NULL)
        return bm_client_fail(error, BATCHMILL_INVALID_ARGUMENT, "client: expected one, got NULL");
    if (bm_client_forked(client))
        return bm_client_fail(error, BATCHMILL_FAILED_PRECONDITION,
                              "this process was forked from the one that connected to %s: connect "
                              "again here",
                              client->url);
    return BATCHMILL_OK;
}

enum batchmill_code bm_client_check_order(const char *pipeline, const struct batchmill_order *order,
                                          struct batchmill_error *error)
{
    if (pipeline == NULL)
        return bm_client_fail(error, BATCHMILL_INVALID_ARGUMENT,
                              "pipeline: expected a name, got NULL");
    if (order == NULL)
        return bm_client_fail(error, BATCHMILL_INVALID_ARGUMENT,
                              "order: expected parameters, got NULL");
    return BATCHMILL_OK;
}

void bm_client_log(const struct batchmill_client *client, const char *format, ...)
{
    if (client->log == NULL)
        return;
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    client->log(client->log_context, text);
}

uint64_t bm_client_now_ns(void)
{
    return bm_clock_system()->now_ns(bm_clock_system());
}

uint64_t bm_client_nonce(void)
{
    uint64_t nonce = 0;
    // Fails only where there is no such system call; the clock then tells two opens apart.
    if (getrandom(&nonce, sizeof nonce, 0) != (ssize_t)sizeof nonce)
        nonce = bm_client_now_ns() ^ ((uint64_t)getpid() << 40);
    return nonce == 0 ? 1 : nonce;
}

enum batchmill_code bm_client_unreachable(const struct batchmill_client *client,
                                          struct bm_client_transport *transport,
                                          struct batchmill_error *error)
{
    uint64_t since_ns;
    struct batchmill_error why;
    if (bm_client_transport_refused(transport, &why))
        return bm_client_fail(error, BATCHMILL_UNAVAILABLE, "%s (tried for %u ms)", why.text,
                              client->timeout_ms);
    if (bm_client_transport_connected(transport, &since_ns))
        return bm_client_fail(error, BATCHMILL_UNAVAILABLE,
                              "%s: connected, but the server did not answer within %u ms",
                              client->url, client->timeout_ms);
    return bm_client_fail(error, BATCHMILL_UNAVAILABLE,
                          "%s: the server cannot be reached (tried for %u ms)", client->url,
                          client->timeout_ms);
}

// ---- One request, one reply ----

struct exchange {
    struct batchmill_client *client;
    struct bm_cond answered;
    bool over; // the client's mutex
    struct bm_client_message *reply;
};

static void exchange_done(void *context, struct bm_client_message *reply)
{
    struct exchange *exchange = context;
    bm_mutex_lock(&exchange->client->mutex);
    exchange->over = true;
    exchange->reply = reply;
    bm_cond_signal(&exchange->answered);
    bm_mutex_unlock(&exchange->client->mutex);
}

// False: there was no turn before the deadline.
static bool client_enter_exchange(struct batchmill_client *client, uint64_t deadline_ns)
{
    bool in_time = true;
    bm_mutex_lock(&client->mutex);
    while (in_time && client->nexchanges == BM_CLIENT_EXCHANGES_MAX)
        in_time = bm_cond_wait_until(&client->changed, &client->mutex, deadline_ns);
    client->nexchanges += in_time;
    bm_mutex_unlock(&client->mutex);
    return in_time;
}

static void client_leave_exchange(struct batchmill_client *client)
{
    bm_mutex_lock(&client->mutex);
    client->nexchanges--;
    bm_cond_broadcast(&client->changed);
    bm_mutex_unlock(&client->mutex);
}

static enum batchmill_code exchange_once(struct batchmill_client *client,
                                         const struct bm_buffer *request, uint64_t deadline_ns,
                                         struct bm_client_message **ret_reply,
                                         struct batchmill_error *error)
{
    if (!client_enter_exchange(client, deadline_ns))
        return bm_client_unreachable(client, client->transport, error);
    struct exchange exchange = {.client = client};
    bool sent = false, over = false;
    struct bm_client_call *call = bm_client_call_new(client->transport, exchange_done, &exchange);
    bm_cond_init(&exchange.answered);
    if (call != NULL && bm_client_call_start(call, request->data, request->size)) {
        sent = true;
        bm_mutex_lock(&client->mutex);
        while (!exchange.over &&
               bm_cond_wait_until(&exchange.answered, &client->mutex, deadline_ns))
            ;
        over = exchange.over;
        bm_mutex_unlock(&client->mutex);
    }
    bm_client_call_free(call); // from here on exchange_done() has run, or never will
    bm_cond_fini(&exchange.answered);
    client_leave_exchange(client);
    if (exchange.reply != NULL) {
        *ret_reply = exchange.reply;
        return BATCHMILL_OK;
    }
    struct batchmill_error why;
    if (over && bm_client_transport_refused(client->transport, &why))
        return bm_client_fail(error, why.code, "%s", why.text);
    if (!sent || over)
        return bm_client_fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "out of memory for a request");
    return bm_client_unreachable(client, client->transport, error);
}

static void client_pause(struct batchmill_client *client, uint64_t pause_ns)
{
    uint64_t until_ns = bm_client_now_ns() + pause_ns;
    bm_mutex_lock(&client->mutex);
    while (bm_cond_wait_until(&client->changed, &client->mutex, until_ns))
        ;
    bm_mutex_unlock(&client->mutex);
}

enum batchmill_code bm_client_exchange(struct batchmill_client *client, struct bm_buffer *request,
                                       uint32_t wait_ms, uint32_t timeout_ms,
                                       struct bm_client_message **ret_reply,
                                       struct batchmill_error *error)
{
    uint64_t deadline_ns = bm_client_now_ns() + ((uint64_t)wait_ms + timeout_ms) * NS_PER_MS;
    struct bm_client_message *reply = NULL;
    enum batchmill_code code = bm_client_request_seal(request, client->token, error);
    for (uint64_t pause_ms = ALTERED_PAUSE_MS; code == BATCHMILL_OK; pause_ms *= 2) {
        code = exchange_once(client, request, deadline_ns, &reply, error);
        if (code != BATCHMILL_OK ||
            !bm_client_reply_altered(bm_client_message_data(reply), bm_client_message_size(reply)))
            break;
        reply = bm_client_message_unref(reply);
        if (pause_ms == ALTERED_PAUSE_MS)
            bm_client_log(client, "%s: a message was altered on its way; asking again",
                          client->url);
        if (bm_client_now_ns() + pause_ms * NS_PER_MS >= deadline_ns)
            return bm_client_fail(error, BATCHMILL_UNAVAILABLE,
                                  "%s: a message was altered on its way (tried for %u ms)",
                                  client->url, timeout_ms);
        client_pause(client, pause_ms * NS_PER_MS);
    }
    if (code == BATCHMILL_OK)
        *ret_reply = reply;
    return code;
}

// ---- Connection ----

static enum batchmill_code connection_new(const struct batchmill_client *client, bool first,
                                          struct bm_client_connection **ret_connection,
                                          struct batchmill_error *error)
{
    const struct bm_client_transport_config config = {
        .url = client->url,
        .max_message_bytes = client->max_message_bytes,
        .log = client->log,
        .log_context = client->log_context,
        .tls = client->tls,
        .tls_name = client->tls_name,
        .ends_when_refused = first,
    };
    struct bm_client_connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL)
        return bm_client_fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "out of memory");
    enum batchmill_code code = bm_client_transport_open(&config, &connection->transport, error);
    if (code == BATCHMILL_OK)
        *ret_connection = connection;
    else
        free(connection);
    return code;
}

enum batchmill_code bm_client_connect(const struct batchmill_client *client,
                                      struct bm_client_transport **ret_transport,
                                      struct batchmill_error *error)
{
    struct bm_client_connection *connection = NULL;
    enum batchmill_code code = connection_new(client, false, &connection, error);
    if (code == BATCHMILL_OK)
        *ret_transport = connection->transport;
    free(connection);
    return code;
}

enum batchmill_code bm_client_enter_connection(struct batchmill_client *client,
                                               struct bm_client_connection **ret_connection,
                                               struct batchmill_error *error)
{
    bm_mutex_lock(&client->mutex);
    struct bm_client_connection *connection = client->connections;
    while (connection != NULL && connection->nstreams == BM_CLIENT_STREAMS_MAX)
        connection = connection->next;
    if (connection != NULL)
        connection->nstreams++;
    bm_mutex_unlock(&client->mutex);
    if (connection == NULL) {
        enum batchmill_code code = connection_new(client, false, &connection, error);
        if (code != BATCHMILL_OK)
            return code;
        connection->nstreams = 1;
        bm_mutex_lock(&client->mutex);
        connection->next = client->connections;
        client->connections = connection;
        bm_mutex_unlock(&client->mutex);
    }
    *ret_connection = connection;
    return BATCHMILL_OK;
}

void bm_client_leave_connection(struct batchmill_client *client,
                                struct bm_client_connection *connection)
{
    bm_mutex_lock(&client->mutex);
    connection->nstreams--; // it stays open for the next stream
    bm_mutex_unlock(&client->mutex);
}

static void client_free(struct batchmill_client *client)
{
    struct bm_client_connection *next;
    for (struct bm_client_connection *connection = client->connections; connection != NULL;
         connection = next) {
        next = connection->next;
        bm_client_transport_close(connection->transport);
        free(connection);
    }
    bm_cond_fini(&client->changed);
    bm_mutex_fini(&client->mutex);
    if (client->token != NULL)
        explicit_bzero(client->token, strlen(client->token));
    free(client->token);
    bm_tls_context_free(client->tls);
    free(client->tls_name);
    free(client->url);
    free(client);
}

// What tls+tcp:// takes, and nothing else does.
static enum batchmill_code client_secure(struct batchmill_client *client,
                                         const struct batchmill_options *options,
                                         struct batchmill_error *error)
{
    const struct bm_tls_files files = {options->tls_certificate_file, options->tls_key_file,
                                       options->tls_ca_file};
    struct bm_error why;
    bool wanted = files.certificate != NULL || files.key != NULL || files.ca != NULL ||
                  options->tls_server_name != NULL;
    bool secure = bm_url_is_tls(client->url);
    if (wanted && !secure)
        return bm_client_fail(error, BATCHMILL_INVALID_ARGUMENT,
                              "%s: expected a URL as tls+tcp://host:port with the options for TLS",
                              client->url);
    if (!secure)
        return BATCHMILL_OK;
    if (options->tls_server_name != NULL &&
        (client->tls_name = strdup(options->tls_server_name)) == NULL)
        return bm_client_fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "out of memory for a client");
    if (bm_tls_context_new(BM_TLS_CLIENT, &files, &client->tls, &why) != BM_OK)
        return bm_client_fail(error, (enum batchmill_code)why.status, "%s%s%s", why.where,
                              why.where[0] == '\0' ? "" : ": ", why.text);
    return BATCHMILL_OK;
}

static struct batchmill_client *client_new(const char *url, const struct batchmill_options *options)
{
    struct batchmill_client *client = calloc(1, sizeof *client);
    char *own_url = strdup(url), *token = NULL;
    if (options->token != NULL)
        token = strdup(options->token);
    if (client == NULL || own_url == NULL || (options->token != NULL && token == NULL)) {
        free(client);
        free(own_url);
        free(token);
        return NULL;
    }
    *client = (struct batchmill_client){
        .url = own_url,
        .token = token,
        .timeout_ms = options->timeout_ms == 0 ? TIMEOUT_MS : options->timeout_ms,
        .max_message_bytes =
            options->max_message_bytes == 0 ? MESSAGE_BYTES_MAX : options->max_message_bytes,
        .log = options->log,
        .log_context = options->log_context,
        .writable = options->writable,
        .no_shared_memory = options->no_shared_memory,
        .pid = getpid(),
    };
    bm_mutex_init(&client->mutex);
    bm_cond_init(&client->changed);
    bm_list_init(&client->streams);
    bm_list_init(&client->members);
    return client;
}

enum batchmill_code batchmill_connect(const char *url, const struct batchmill_options *options,
                                      struct batchmill_client **ret_client,
                                      struct batchmill_error *error)
{
    static const struct batchmill_options defaults = {0};
    if (url == NULL || ret_client == NULL)
        return bm_client_fail(error, BATCHMILL_INVALID_ARGUMENT, "%s: expected one, got NULL",
                              url == NULL ? "url" : "ret_client");
    struct batchmill_client *client = client_new(url, options == NULL ? &defaults : options);
    if (client == NULL)
        return bm_client_fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "out of memory for a client");
    struct bm_client_connection *connection = NULL;
    struct batchmill_status status;
    enum batchmill_code code = client_secure(client, options == NULL ? &defaults : options, error);
    if (code == BATCHMILL_OK)
        code = connection_new(client, true, &connection, error);
    if (code == BATCHMILL_OK) {
        client->transport = connection->transport;
        client->connections = connection;
        code = batchmill_status(client, &status, error); // somebody must be there
    }
    if (code != BATCHMILL_OK) {
        client_free(client);
        return code;
    }
    *ret_client = client;
    return BATCHMILL_OK;
}

void batchmill_disconnect(struct batchmill_client *client)
{
    if (client == NULL || bm_client_forked(client)) // there it is a copy without its threads
        return;
    bm_client_members_free(client);
    BM_ASSERT(bm_list_empty(&client->streams)); // close streams before
    bm_client_timer_free(client->timer);
    client_free(client);
}

// ---- Questions with one answer ----

// Carries out what `encoded` says about `request`, and frees the request.
static enum batchmill_code client_ask(struct batchmill_client *client, enum batchmill_code encoded,
                                      struct bm_buffer *request,
                                      struct bm_client_message **ret_reply,
                                      struct batchmill_error *error)
{
    if (encoded == BATCHMILL_OK)
        encoded = bm_client_exchange(client, request, 0, client->timeout_ms, ret_reply, error);
    bm_buffer_fini(request);
    return encoded;
}

enum batchmill_code batchmill_list(struct batchmill_client *client,
                                   struct batchmill_list **ret_list, struct batchmill_error *error)
{
    struct bm_buffer request;
    struct bm_client_message *reply = NULL;
    enum batchmill_code code = bm_client_check(client, error);
    if (code != BATCHMILL_OK)
        return code;
    bm_buffer_init(&request);
    code = client_ask(client, bm_client_encode_list(&request, error), &request, &reply, error);
    if (code == BATCHMILL_OK)
        code = bm_client_decode_list(bm_client_message_data(reply), bm_client_message_size(reply),
                                     ret_list, error);
    bm_client_message_unref(reply);
    return code;
}

void batchmill_list_free(struct batchmill_list *list)
{
    free(list);
}

enum batchmill_code batchmill_describe(struct batchmill_client *client, const char *pipeline,
                                       struct batchmill_description **ret_description,
                                       struct batchmill_error *error)
{
    struct bm_buffer request;
    struct bm_client_message *reply = NULL;
    enum batchmill_code code = bm_client_check(client, error);
    if (code != BATCHMILL_OK)
        return code;
    if (pipeline == NULL)
        return bm_client_fail(error, BATCHMILL_INVALID_ARGUMENT,
                              "pipeline: expected a name, got NULL");
    bm_buffer_init(&request);
    code = client_ask(client, bm_client_encode_describe(pipeline, &request, error), &request,
                      &reply, error);
    if (code == BATCHMILL_OK)
        code = bm_client_decode_describe(bm_client_message_data(reply),
                                         bm_client_message_size(reply), ret_description, error);
    bm_client_message_unref(reply);
    return code;
}

void batchmill_description_free(struct batchmill_description *description)
{
    free(description);
}

enum batchmill_code batchmill_register(struct batchmill_client *client, const char *name,
                                       const char *definition, uint32_t lease_ms,
                                       struct batchmill_registration *ret_registration,
                                       struct batchmill_error *error)
{
    struct bm_buffer request;
    struct bm_client_message *reply = NULL;
    enum batchmill_code code = bm_client_check(client, error);
    if (code != BATCHMILL_OK)
        return code;
    if (name == NULL || definition == NULL || ret_registration == NULL)
        return bm_client_fail(error, BATCHMILL_INVALID_ARGUMENT, "%s: expected one, got NULL",
                              name == NULL         ? "name"
                              : definition == NULL ? "definition"
                                                   : "ret_registration");
    bm_buffer_init(&request);
    code =
        client_ask(client, bm_client_encode_register(name, definition, lease_ms, &request, error),
                   &request, &reply, error);
    if (code == BATCHMILL_OK)
        code = bm_client_decode_register(bm_client_message_data(reply),
                                         bm_client_message_size(reply), ret_registration, error);
    bm_client_message_unref(reply);
    return code;
}

enum batchmill_code batchmill_unregister(struct batchmill_client *client, const char *name,
                                         const char *registration, bool *ret_removed,
                                         struct batchmill_error *error)
{
    struct bm_buffer request;
    struct bm_client_message *reply = NULL;
    bool removed = false;
    enum batchmill_code code = bm_client_check(client, error);
    if (code != BATCHMILL_OK)
        return code;
    if (name == NULL || registration == NULL)
        return bm_client_fail(error, BATCHMILL_INVALID_ARGUMENT, "%s: expected one, got NULL",
                              name == NULL ? "name" : "registration");
    bm_buffer_init(&request);
    code = client_ask(client, bm_client_encode_unregister(name, registration, &request, error),
                      &request, &reply, error);
    if (code == BATCHMILL_OK)
        code = bm_client_decode_unregister(bm_client_message_data(reply),
                                           bm_client_message_size(reply), &removed, error);
    if (code == BATCHMILL_OK && ret_removed != NULL)
        *ret_removed = removed;
    bm_client_message_unref(reply);
    return code;
}

enum batchmill_code batchmill_status(struct batchmill_client *client,
                                     struct batchmill_status *ret_status,
                                     struct batchmill_error *error)
{
    struct bm_buffer request;
    struct bm_client_message *reply = NULL;
    enum batchmill_code code = bm_client_check(client, error);
    if (code != BATCHMILL_OK)
        return code;
    bm_buffer_init(&request);
    code = client_ask(client, bm_client_encode_status(&request, error), &request, &reply, error);
    if (code == BATCHMILL_OK)
        code = bm_client_decode_status(bm_client_message_data(reply), bm_client_message_size(reply),
                                       ret_status, error);
    bm_client_message_unref(reply);
    return code;
}

enum batchmill_code batchmill_remote_status(struct batchmill_client *client,
                                            struct batchmill_remote_actions **ret_actions,
                                            struct batchmill_error *error)
{
    struct bm_buffer request;
    struct bm_client_message *reply = NULL;
    enum batchmill_code code = bm_client_check(client, error);
    if (code != BATCHMILL_OK)
        return code;
    bm_buffer_init(&request);
    code = client_ask(client, bm_client_encode_status(&request, error), &request, &reply, error);
    if (code == BATCHMILL_OK)
        code = bm_client_decode_remotes(bm_client_message_data(reply),
                                        bm_client_message_size(reply), ret_actions, error);
    bm_client_message_unref(reply);
    return code;
}

void batchmill_remote_actions_free(struct batchmill_remote_actions *actions)
{
    free(actions);
}
