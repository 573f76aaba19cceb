// Pipelines that clients register. Each lives until it is unregistered, or until its lease ends:
// nobody used it, nor registered it again, for that long. To register the same again renews it, so
// a repeated request does no harm. Streams that are open go on without it.
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "server/session_internal.h"

struct session_registration {
    struct bm_session *session;
    struct bm_pipeline *pipeline; // referenced by the catalog
    char name[BM_NAME_MAX + 1], id[BM_STREAM_ID_MAX + 1];
    uint64_t text_hash; // of the definition: the same text is the same pipeline
    uint32_t lease_ms;
    struct bm_timer timer;
    UT_hash_handle by_name;
};

static struct session_registration *registration_find(const struct bm_session *session,
                                                      const char *name)
{
    struct session_registration *registration = NULL;
    HASH_FIND(by_name, session->registrations, name, (unsigned)strlen(name), registration);
    return registration;
}

bool session_is_registered(const struct bm_session *session, const char *name)
{
    return registration_find(session, name) != NULL;
}

static void registration_free(struct session_registration *registration)
{
    struct bm_session *session = registration->session;
    struct bm_executor *executor = session->config.executor;
    executor->disarm(executor, &registration->timer);
    HASH_DELETE(by_name, session->registrations, registration);
    bm_catalog_remove(session->config.catalog, registration->name);
    free(registration);
}

void session_registrations_free(struct bm_session *session)
{
    while (session->registrations != NULL)
        registration_free(session->registrations);
}

// ---- Leases ----

static void registration_renew(struct session_registration *registration)
{
    struct bm_session *session = registration->session;
    struct bm_executor *executor = session->config.executor;
    uint64_t lease_ns = registration->lease_ms * UINT64_C(1000000);
    executor->disarm(executor, &registration->timer);
    executor->arm(executor, &registration->timer, session_now(session) + lease_ns);
}

// Who has it open keeps it. The catalog's own reference is always there.
static void registration_expired(struct bm_timer *timer)
{
    struct session_registration *registration =
        BM_CONTAINER(timer, struct session_registration, timer);
    if (bm_pipeline_refs(registration->pipeline) > 1)
        registration_renew(registration);
    else
        registration_free(registration);
}

// ---- Registering ----

static enum bm_status register_check(const struct bm_session *session, struct bm_error *err)
{
    if (session->config.registrar == NULL)
        return bm_fail(err, BM_PERMISSION_DENIED, NULL,
                       "clients may not register pipelines on this server");
    return BM_OK;
}

// Takes the pipeline on success.
static enum bm_status registration_new(struct bm_session *session,
                                       const struct bm_register_request *request,
                                       struct bm_pipeline *pipeline,
                                       struct session_registration **ret, struct bm_error *err)
{
    if (HASH_CNT(by_name, session->registrations) >= BM_SESSION_REGISTERED_MAX)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL,
                       "expected at most %d registered pipelines, got one more",
                       BM_SESSION_REGISTERED_MAX);
    struct session_registration *registration = calloc(1, sizeof *registration);
    if (registration == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a pipeline");
    registration->session = session;
    registration->pipeline = pipeline;
    registration->timer.fire = registration_expired;
    strcpy(registration->name, request->name);
    session_id_draw(session, registration->id);
    enum bm_status status = BM_OK;
    HASH_ADD(by_name, session->registrations, name, (unsigned)strlen(registration->name),
             registration);
    if (registration->by_name.tbl == NULL) {
        status = bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a pipeline");
        goto fail;
    }
    if ((status = bm_catalog_add(session->config.catalog, pipeline, err)) != BM_OK) {
        HASH_DELETE(by_name, session->registrations, registration);
        goto fail;
    }
    *ret = registration;
    return BM_OK;
fail:
    free(registration);
    return status;
}

// The registration of that name with that definition: the one that is there, or a new one.
static enum bm_status registration_get(struct bm_session *session,
                                       const struct bm_register_request *request,
                                       struct session_registration **ret, struct bm_error *err)
{
    uint64_t text_hash = bm_hash_bytes(request->definition, strlen(request->definition));
    struct session_registration *there = registration_find(session, request->name);
    if (there != NULL && there->text_hash == text_hash) {
        *ret = there;
        return BM_OK;
    }
    struct bm_pipeline *pipeline = NULL;
    enum bm_status status = bm_registrar_build(session->config.registrar, request->name,
                                               request->definition, &pipeline, err);
    if (status != BM_OK)
        return status;
    if (there == NULL) {
        status = registration_new(session, request, pipeline, &there, err);
    } else if (bm_pipeline_fingerprint(there->pipeline) != bm_pipeline_fingerprint(pipeline)) {
        status = bm_fail(err, BM_ALREADY_EXISTS, request->name,
                         "a client registered another pipeline under this name");
    } else {
        bm_pipeline_unref(pipeline);
        pipeline = NULL;
    }
    if (status != BM_OK) {
        bm_pipeline_unref(pipeline);
        return status;
    }
    there->text_hash = text_hash;
    *ret = there;
    return BM_OK;
}

void session_register(struct bm_session *session, struct bm_exchange *exchange)
{
    const struct bm_register_request *request = &exchange->request.registers;
    struct session_registration *registration = NULL;
    struct bm_error error;
    enum bm_status status = register_check(session, &error);
    if (status == BM_OK && session->draining)
        status = bm_fail(&error, BM_UNAVAILABLE, NULL,
                         "the server is finishing what it has and takes nothing new");
    if (status == BM_OK)
        status = registration_get(session, request, &registration, &error);
    if (status != BM_OK) {
        session_fail(session, exchange, &error);
        return;
    }
    uint32_t lease_ms = request->lease_ms == 0 ? session->config.lease_ms : request->lease_ms;
    if (lease_ms > registration->lease_ms) // who else registered it still counts on theirs
        registration->lease_ms = lease_ms;
    registration_renew(registration);
    struct bm_registered *registered = &exchange->reply.registered;
    registered->fingerprint = bm_pipeline_fingerprint(registration->pipeline);
    registered->lease_ms = registration->lease_ms;
    strcpy(registered->id, registration->id);
    session_answer(session, exchange);
}

// A repeated request finds nothing, and that is what it wanted; one that was overtaken by a new
// registration of that name does not have its id.
void session_unregister(struct bm_session *session, struct bm_exchange *exchange)
{
    struct bm_error error;
    if (register_check(session, &error) != BM_OK) {
        session_fail(session, exchange, &error);
        return;
    }
    struct session_registration *registration =
        registration_find(session, exchange->request.named.name);
    bool removes =
        registration != NULL && strcmp(registration->id, exchange->request.named.registration) == 0;
    if (removes)
        registration_free(registration);
    exchange->reply.unregistered = removes;
    session_answer(session, exchange);
}
