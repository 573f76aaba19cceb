#include "net/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

// ---- URLs ----

static const char *url_rest(const char *url, const char *scheme) // behind "scheme://", or NULL
{
    size_t n = strlen(scheme);
    return strncmp(url, scheme, n) == 0 && strncmp(url + n, "://", 3) == 0 ? url + n + 3 : NULL;
}

bool bm_url_is_tcp(const char *url)
{
    return url_rest(url, "tcp") != NULL || url_rest(url, "tcp4") != NULL ||
           url_rest(url, "tcp6") != NULL;
}

bool bm_url_is_tls(const char *url)
{
    return url_rest(url, "tls+tcp") != NULL || url_rest(url, "tls+tcp4") != NULL ||
           url_rest(url, "tls+tcp6") != NULL;
}

bool bm_url_is_ipc(const char *url)
{
    return url_rest(url, "ipc") != NULL || url_rest(url, "unix") != NULL ||
           url_rest(url, "abstract") != NULL;
}

static enum bm_status path_resolve(const char *url, bool abstract, const char *path,
                                   struct bm_addresses *ret_addresses, struct bm_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path), room = sizeof address.sun_path - 1;
    if (length == 0 || length > room)
        return bm_fail(err, BM_INVALID_ARGUMENT, url, "expected a %s of 1 to %zu bytes, got %zu",
                       abstract ? "name" : "path", room, length);
    memcpy(address.sun_path + (abstract ? 1 : 0), path, length);
    ret_addresses->n = 1;
    memcpy(&ret_addresses->list[0].storage, &address, sizeof address);
    ret_addresses->list[0].size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
    return BM_OK;
}

// Splits "host:port" or "[host]:port"; false: it is neither.
static bool host_split(const char *text, char host[BM_URL_HOST_MAX + 1], const char **ret_port)
{
    const char *end, *colon = strrchr(text, ':');
    if (text[0] == '[') {
        end = strchr(++text, ']');
        if (end == NULL || end[1] != ':')
            return false;
        colon = end + 1;
    } else {
        end = colon;
    }
    char *after;
    if (colon == NULL || end - text > BM_URL_HOST_MAX || colon[1] < '0' || colon[1] > '9' ||
        strtoul(colon + 1, &after, 10) > UINT16_MAX || *after != '\0')
        return false;
    memcpy(host, text, (size_t)(end - text));
    host[end - text] = '\0';
    *ret_port = colon + 1;
    return true;
}

struct url { // taken apart
    int family;
    bool abstract;
    const char *rest, *port;
    char host[BM_URL_HOST_MAX + 1];
};

static enum bm_status url_parse(const char *text, struct url *ret_url, struct bm_error *err)
{
    static const struct {
        const char *scheme;
        int family;
    } schemes[] = {{"tcp", AF_UNSPEC},     {"tcp4", AF_INET},     {"tcp6", AF_INET6},
                   {"tls+tcp", AF_UNSPEC}, {"tls+tcp4", AF_INET}, {"tls+tcp6", AF_INET6},
                   {"ipc", AF_UNIX},       {"unix", AF_UNIX},     {"abstract", AF_UNIX}};
    *ret_url = (struct url){.abstract = strncmp(text, "abstract", 8) == 0};
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0] && ret_url->rest == NULL; i++) {
        ret_url->rest = url_rest(text, schemes[i].scheme);
        ret_url->family = schemes[i].family;
    }
    if (ret_url->rest == NULL ||
        (ret_url->family != AF_UNIX && !host_split(ret_url->rest, ret_url->host, &ret_url->port)))
        return bm_fail(err, BM_INVALID_ARGUMENT, text,
                       "expected tcp://host:port, tls+tcp://host:port or ipc:///path");
    if (ret_url->family == AF_UNIX && ret_url->rest[0] == '\0')
        return bm_fail(err, BM_INVALID_ARGUMENT, text, "expected a path behind ipc://");
    return BM_OK;
}

static bool host_is_any(const struct url *url)
{
    return url->host[0] == '\0' || strcmp(url->host, "*") == 0;
}

static enum bm_status host_resolve(const char *text, const struct url *url, bool passive,
                                   struct bm_addresses *ret_addresses, struct bm_error *err)
{
    const struct addrinfo hints = {.ai_family = url->family,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0)};
    struct addrinfo *found = NULL;
    // To connect to any address of this machine is to connect to this machine.
    int result = getaddrinfo(host_is_any(url) ? NULL : url->host, url->port, &hints, &found);
    if (result == EAI_MEMORY)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, text, "out of memory for its addresses");
    if (result != 0)
        return bm_fail(err, BM_UNAVAILABLE, text, "cannot find the host %s: %s", url->host,
                       gai_strerror(result));
    for (const struct addrinfo *at = found; at != NULL && ret_addresses->n < BM_ADDRESSES_MAX;
         at = at->ai_next) {
        struct bm_address *address = &ret_addresses->list[ret_addresses->n++];
        memcpy(&address->storage, at->ai_addr, at->ai_addrlen);
        address->size = at->ai_addrlen;
    }
    freeaddrinfo(found);
    return BM_OK;
}

enum bm_status bm_url_check(const char *url, struct bm_error *err)
{
    struct url parsed;
    return url_parse(url, &parsed, err);
}

enum bm_status bm_url_host(const char *url, char ret_host[BM_URL_HOST_MAX + 1],
                           struct bm_error *err)
{
    struct url parsed;
    enum bm_status status = url_parse(url, &parsed, err);
    if (status == BM_OK)
        strcpy(ret_host, host_is_any(&parsed) ? "localhost" : parsed.host);
    return status;
}

enum bm_status bm_url_resolve(const char *url, bool passive, struct bm_addresses *ret_addresses,
                              struct bm_error *err)
{
    struct url parsed;
    *ret_addresses = (struct bm_addresses){0};
    enum bm_status status = url_parse(url, &parsed, err);
    if (status == BM_OK && parsed.family == AF_UNIX)
        status = path_resolve(url, parsed.abstract, parsed.rest, ret_addresses, err);
    else if (status == BM_OK)
        status = host_resolve(url, &parsed, passive, ret_addresses, err);
    return status;
}

// ---- Sockets ----

static void socket_configure(int fd, int family)
{
    const int on = 1;
    if (family == AF_UNIX)
        return;
    // A request must not wait for the answer to the one before; and a peer whose machine vanished
    // says nothing, and would stay for ever.
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

static int socket_new(const struct bm_address *address)
{
    int family = address->storage.ss_family;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        socket_configure(fd, family);
    return fd;
}

static int socket_close(int fd) // -1; keeps errno
{
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static bool address_is_file(const struct bm_address *address)
{
    const struct sockaddr_un *path = (const struct sockaddr_un *)&address->storage;
    return address->storage.ss_family == AF_UNIX && path->sun_path[0] != '\0';
}

static bool file_is_dead(const struct bm_address *address) // nobody listens on it any more
{
    struct stat file;
    const char *path = ((const struct sockaddr_un *)&address->storage)->sun_path;
    if (lstat(path, &file) != 0 || !S_ISSOCK(file.st_mode))
        return false; // somebody's data
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool dead = connect(fd, (const struct sockaddr *)&address->storage, address->size) != 0 &&
                errno == ECONNREFUSED;
    close(fd);
    return dead;
}

static bool socket_bind(int fd, const struct bm_address *address)
{
    const struct sockaddr *raw = (const struct sockaddr *)&address->storage;
    if (bind(fd, raw, address->size) == 0)
        return true;
    if (errno != EADDRINUSE || !address_is_file(address))
        return false;
    bool dead = file_is_dead(address);
    if (dead)
        bm_socket_unlisten(address);
    errno = EADDRINUSE;
    return dead && bind(fd, raw, address->size) == 0;
}

static int socket_port(int fd)
{
    struct sockaddr_storage bound = {0};
    socklen_t size = sizeof bound;
    if (getsockname(fd, (struct sockaddr *)&bound, &size) != 0)
        return 0;
    if (bound.ss_family == AF_INET)
        return ntohs(((struct sockaddr_in *)&bound)->sin_port);
    return bound.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&bound)->sin6_port) : 0;
}

enum bm_status bm_socket_listen(const struct bm_address *address, int *ret_fd, int *ret_port,
                                struct bm_error *err)
{
    const int on = 1;
    int fd = socket_new(address);
    if (fd >= 0 && address->storage.ss_family != AF_UNIX)
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || !socket_bind(fd, address) || listen(fd, BACKLOG) != 0) {
        bm_fail(err, BM_UNAVAILABLE, NULL, "cannot listen: %m");
        if (fd >= 0)
            close(fd);
        return BM_UNAVAILABLE;
    }
    *ret_fd = fd;
    *ret_port = socket_port(fd);
    return BM_OK;
}

void bm_socket_unlisten(const struct bm_address *address)
{
    if (address_is_file(address))
        (void)unlink(((const struct sockaddr_un *)&address->storage)->sun_path);
}

int bm_socket_accept(int listener, struct bm_address *ret_from)
{
    ret_from->size = sizeof ret_from->storage;
    int fd = accept4(listener, (struct sockaddr *)&ret_from->storage, &ret_from->size,
                     SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        socket_configure(fd, ret_from->storage.ss_family);
    return fd;
}

int bm_socket_connect(const struct bm_address *address)
{
    int fd = socket_new(address);
    if (fd < 0)
        return -1;
    int result = connect(fd, (const struct sockaddr *)&address->storage, address->size);
    return result == 0 || errno == EINPROGRESS ? fd : socket_close(fd);
}

int bm_socket_error(int fd)
{
    int error = 0;
    socklen_t size = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

// ---- Addresses ----

static struct in6_addr address_ip(const struct bm_address *address) // of IPv4: as IPv6 has it
{
    const struct sockaddr_in *ip4 = (const struct sockaddr_in *)&address->storage;
    struct in6_addr ip = {.s6_addr = {[10] = 0xff, [11] = 0xff}};
    if (address->storage.ss_family == AF_INET)
        memcpy(ip.s6_addr + 12, &ip4->sin_addr, 4);
    else
        ip = ((const struct sockaddr_in6 *)&address->storage)->sin6_addr;
    return ip;
}

bool bm_address_is_local(const struct bm_address *address)
{
    if (address->storage.ss_family == AF_UNIX)
        return true;
    struct in6_addr ip = address_ip(address);
    return IN6_IS_ADDR_LOOPBACK(&ip) || (IN6_IS_ADDR_V4MAPPED(&ip) && ip.s6_addr[12] == 127);
}

bool bm_address_equal(const struct bm_address *a, const struct bm_address *b)
{
    if (a->storage.ss_family == AF_UNIX || b->storage.ss_family == AF_UNIX)
        return a->storage.ss_family == b->storage.ss_family;
    struct in6_addr left = address_ip(a), right = address_ip(b);
    return memcmp(&left, &right, sizeof left) == 0;
}
