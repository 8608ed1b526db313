// The system calls of MeshTransport, in the shape that Swift can use without pointers to C's address
// structures. Header only: static inline functions, so that no C source is compiled into the product.
//
// Every function that can fail returns a negated errno value instead of setting errno, as the kernel
// itself does.
#ifndef SMALLWORLD_CLINUX_H
#define SMALLWORLD_CLINUX_H
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

// glibc shows it only with _GNU_SOURCE, with which its types differ from those of Swift's Glibc module.
int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);

// An address as MeshWire's Endpoint keeps it: two halves in host order, IPv4 in the low 32 bits.
typedef struct {
    uint64_t high, low;
    uint16_t port;
    bool is_ipv6;
} linux_endpoint;

static inline socklen_t linux_to_sockaddr(linux_endpoint from, struct sockaddr_storage *to) {
    memset(to, 0, sizeof *to);
    if (from.is_ipv6) {
        struct sockaddr_in6 *six = (struct sockaddr_in6 *)to;
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(from.port);
        for (int i = 0; i < 8; i++) {
            six->sin6_addr.s6_addr[i] = (uint8_t)(from.high >> (56 - 8 * i));
            six->sin6_addr.s6_addr[8 + i] = (uint8_t)(from.low >> (56 - 8 * i));
        }
        return sizeof *six;
    }
    struct sockaddr_in *four = (struct sockaddr_in *)to;
    four->sin_family = AF_INET;
    four->sin_port = htons(from.port);
    four->sin_addr.s_addr = htonl((uint32_t)from.low);
    return sizeof *four;
}

static inline linux_endpoint linux_from_sockaddr(const struct sockaddr_storage *from) {
    linux_endpoint to = {0, 0, 0, false};
    if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)from;
        to.is_ipv6 = true;
        to.port = ntohs(six->sin6_port);
        for (int i = 0; i < 8; i++) {
            to.high = to.high << 8 | six->sin6_addr.s6_addr[i];
            to.low = to.low << 8 | six->sin6_addr.s6_addr[8 + i];
        }
    } else if (from->ss_family == AF_INET) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)from;
        to.port = ntohs(four->sin_port);
        to.low = ntohl(four->sin_addr.s_addr);
    }
    return to;
}

static inline void linux_set_option(int fd, int level, int option, int value) {
    setsockopt(fd, level, option, &value, sizeof value);
}

// A listening, non-blocking socket; or a negated errno.
static inline int linux_listen(linux_endpoint at, int backlog) {
    struct sockaddr_storage address;
    socklen_t size = linux_to_sockaddr(at, &address);
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    linux_set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (bind(fd, (struct sockaddr *)&address, size) || listen(fd, backlog)) {
        int reason = errno;
        close(fd);
        return -reason;
    }
    return fd;
}

static inline linux_endpoint linux_local_endpoint(int fd) {
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    memset(&address, 0, sizeof address);
    getsockname(fd, (struct sockaddr *)&address, &size);
    return linux_from_sockaddr(&address);
}

// The longest path of a Unix socket, without the zero behind it.
enum { linux_path_max = sizeof ((struct sockaddr_un *)0)->sun_path - 1 };

// A path as the address of a Unix socket: its size, or 0 when it is empty or too long.
static inline socklen_t linux_path_to_sockaddr(const char *path, struct sockaddr_un *to) {
    size_t size = strlen(path);
    if (size == 0 || size > linux_path_max) return 0;
    memset(to, 0, sizeof *to);
    to->sun_family = AF_UNIX;
    memcpy(to->sun_path, path, size);
    return sizeof *to;
}

// A non-blocking Unix socket whose file stands at `path`; or a negated errno. Nobody can connect until
// `linux_begin_listening`, and the file has never more rights than `mode`.
static inline int linux_bind_path(const char *path, mode_t mode) {
    struct sockaddr_un address;
    socklen_t size = linux_path_to_sockaddr(path, &address);
    if (size == 0) return -ENAMETOOLONG;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    // The file takes the socket's own mode, less what the process masks.
    if (fchmod(fd, mode) || bind(fd, (struct sockaddr *)&address, size)) {
        int reason = errno;
        close(fd);
        return -reason;
    }
    return fd;
}

static inline int linux_begin_listening(int fd, int backlog) {
    return listen(fd, backlog) ? -errno : 0;
}

// 0, or a negated errno.
static inline int linux_connect_path(int fd, const char *path) {
    struct sockaddr_un address;
    socklen_t size = linux_path_to_sockaddr(path, &address);
    if (size == 0) return -ENAMETOOLONG;
    return connect(fd, (struct sockaddr *)&address, size) ? -errno : 0;
}

// Whether somebody answers at `path`: 0, or a negated errno; -ECONNREFUSED when nobody does.
static inline int linux_try_path(const char *path) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int result = linux_connect_path(fd, path);
    close(fd);
    // A full queue: somebody listens, and is busy.
    return result == -EAGAIN ? 0 : result;
}

typedef struct {
    int descriptor; // or a negated errno
    linux_endpoint peer; // of the address 0 for clients of a Unix socket
} linux_accepted;

// The next waiting connection: non-blocking, without Nagle's delay.
static inline linux_accepted linux_accept(int listener) {
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    linux_accepted result;
    memset(&address, 0, sizeof address);
    int fd = accept4(listener, (struct sockaddr *)&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    result.descriptor = fd < 0 ? -errno : fd;
    result.peer = linux_from_sockaddr(&address);
    if (fd >= 0 && address.ss_family != AF_UNIX) linux_set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    return result;
}

// Starts a connection; a descriptor, or a negated errno. Writable when it stands or has failed. Both sides
// send at most `segment` bytes in a packet; 0: as many as the way takes by their account.
static inline int linux_connect(linux_endpoint to, int segment) {
    struct sockaddr_storage address;
    socklen_t size = linux_to_sockaddr(to, &address);
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    linux_set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (segment > 0) linux_set_option(fd, IPPROTO_TCP, TCP_MAXSEG, segment);
    if (connect(fd, (struct sockaddr *)&address, size) && errno != EINPROGRESS) {
        int reason = errno;
        close(fd);
        return -reason;
    }
    return fd;
}

// What became of a connection that was started: 0, or a negated errno. A socket that dialled a free
// port of its own machine can end up connected to itself; that is nobody, so it counts as refused.
static inline int linux_connect_result(int fd) {
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size)) return -errno;
    if (error) return -error;
    struct sockaddr_storage here, there;
    socklen_t here_size = sizeof here, there_size = sizeof there;
    memset(&here, 0, sizeof here);
    memset(&there, 0, sizeof there);
    if (getsockname(fd, (struct sockaddr *)&here, &here_size)) return -errno;
    if (getpeername(fd, (struct sockaddr *)&there, &there_size)) return -errno;
    if (here_size == there_size && memcmp(&here, &there, here_size) == 0) return -ECONNREFUSED;
    return 0;
}

// Bytes that were sent and that the peer has not acknowledged, or a negated errno. It can be asked of a
// connection that was reset, too. Until it is acknowledged the end of the stream counts as one byte.
static inline int linux_unacknowledged(int fd) {
    int count = 0;
    return ioctl(fd, TIOCOUTQ, &count) ? -errno : count;
}

// Bytes that were given to the kernel and have not been sent for the first time, or a negated errno.
static inline int linux_unsent(int fd) {
    int count = 0;
    return ioctl(fd, 0x894B /* SIOCOUTQNSD of linux/sockios.h */, &count) ? -errno : count;
}

// What has befallen a socket since it was asked or used, a positive errno; 0: nothing.
static inline int linux_take_error(int fd) {
    int error = 0;
    socklen_t size = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) ? errno : error;
}

// This machine's address on the way to another one. Nothing is sent: a datagram socket only asks the
// kernel's routes. Port 0 and address 0 when there is no way.
static inline linux_endpoint linux_source_towards(linux_endpoint to) {
    struct sockaddr_storage address;
    linux_endpoint none = {0, 0, 0, false};
    socklen_t size = linux_to_sockaddr(to, &address);
    int fd = socket(address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return none;
    if (connect(fd, (struct sockaddr *)&address, size) == 0) none = linux_local_endpoint(fd);
    close(fd);
    return none;
}

// Probes after `seconds` of silence, then three more a third of that apart, as Redis does.
static inline void linux_keep_alive(int fd, int seconds) {
    linux_set_option(fd, SOL_SOCKET, SO_KEEPALIVE, seconds > 0);
    if (seconds <= 0) return;
    linux_set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds);
    linux_set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, seconds / 3 > 0 ? seconds / 3 : 1);
    linux_set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

// A stream takes no more than so many bytes beyond those that are on their way, and is writable again
// when half of them have left.
static inline void linux_bound_unsent(int fd, int bytes) {
    linux_set_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, bytes);
}

static inline long linux_receive(int fd, void *to, size_t size) {
    ssize_t count = recv(fd, to, size, 0);
    return count < 0 ? -errno : count;
}

static inline long linux_send(int fd, const void *from, size_t size) {
    ssize_t count = send(fd, from, size, MSG_NOSIGNAL);
    return count < 0 ? -errno : count;
}

// Three pieces in one call; empty pieces are allowed.
static inline long linux_send_pieces(
    int fd, const void *first, size_t first_size, const void *second, size_t second_size,
    const void *third, size_t third_size) {
    struct iovec pieces[3] = {
        {(void *)first, first_size}, {(void *)second, second_size}, {(void *)third, third_size}};
    struct msghdr message;
    memset(&message, 0, sizeof message);
    message.msg_iov = pieces;
    message.msg_iovlen = 3;
    ssize_t count = sendmsg(fd, &message, MSG_NOSIGNAL);
    return count < 0 ? -errno : count;
}

static inline int linux_epoll_create(void) {
    int fd = epoll_create1(EPOLL_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

enum { linux_readable = EPOLLIN, linux_writable = EPOLLOUT, linux_once = 1u << 31 /* EPOLLET */ };

static inline int linux_epoll_add(int poller, int fd, uint32_t events, uint64_t token) {
    struct epoll_event event = {events, {.u64 = token}};
    return epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static inline int linux_epoll_modify(int poller, int fd, uint32_t events, uint64_t token) {
    struct epoll_event event = {events, {.u64 = token}};
    return epoll_ctl(poller, EPOLL_CTL_MOD, fd, &event) ? -errno : 0;
}

// Waits at most `nanoseconds`, for ever when negative. Kernels before 5.11 lack epoll_pwait2 and wait
// whole milliseconds, rounded up: waking too early would spin until the deadline.
static inline int linux_epoll_wait(int poller, struct epoll_event *events, int size, int64_t nanoseconds) {
    static bool lacks_pwait2 = false;
    if (nanoseconds > 0 && !lacks_pwait2) {
        struct { int64_t seconds, nanoseconds; } timeout = {
            nanoseconds / 1000000000, nanoseconds % 1000000000};
        long count = syscall(441 /* SYS_epoll_pwait2 */, poller, events, size, &timeout, NULL, (size_t)8);
        if (count >= 0) return (int)count;
        if (errno != ENOSYS && errno != EPERM) return -errno;
        lacks_pwait2 = true;
    }
    int64_t milliseconds = nanoseconds < 0 ? -1 : (nanoseconds + 999999) / 1000000;
    int count = epoll_wait(poller, events, size, milliseconds > 60000 ? 60000 : (int)milliseconds);
    return count < 0 ? -errno : count;
}

static inline int linux_event_create(void) {
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static inline void linux_event_signal(int fd) {
    uint64_t one = 1;
    // A full counter wakes the reader as well as one more would.
    ssize_t ignored = write(fd, &one, sizeof one);
    (void)ignored;
}

static inline void linux_event_clear(int fd) {
    uint64_t count;
    ssize_t ignored = read(fd, &count, sizeof count);
    (void)ignored;
}

static inline int linux_open_spare(void) {
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

// Writes what can be written at once, for readers that must never be waited for: a full disk, a pipe
// that nobody empties, a stopped terminal. Returns how many bytes were taken.
static inline size_t linux_write_at_once(int fd, const void *from, size_t size) {
    size_t written = 0;
    while (written < size) {
        struct pollfd state = {fd, POLLOUT, 0};
        if (poll(&state, 1, 0) != 1 || !(state.revents & POLLOUT)) break;
        // A pipe that is ready has room for so much: a larger write could block.
        size_t piece = size - written < PIPE_BUF ? size - written : PIPE_BUF;
        ssize_t count = write(fd, (const char *)from + written, piece);
        if (count < 0 && errno != EINTR) break;
        if (count > 0) written += (size_t)count;
    }
    return written;
}

static inline int64_t linux_monotonic_nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline int64_t linux_wall_microseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static inline int64_t linux_wall_milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// Raises the soft limit of open files to the hard one; returns the limit that now holds.
static inline uint64_t linux_raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit)) return 0;
    if (limit.rlim_cur < limit.rlim_max) {
        struct rlimit raised = {limit.rlim_max, limit.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
    }
    return limit.rlim_cur;
}

// Names the calling thread, in at most 15 bytes.
static inline void linux_name_thread(const char *name) {
    prctl(PR_SET_NAME, name, 0, 0, 0);
}

// Writing to a closed pipe or socket gives EPIPE instead of ending the process.
static inline void linux_ignore_broken_pipes(void) {
    signal(SIGPIPE, SIG_IGN);
}

// Starts a program whose life ends with the calling thread's, whatever ends that: the kernel kills it
// even when no handler of the parent could run. Its standard output and error go to `output`; its
// standard input is empty. It has a process group of its own, so that Ctrl-C in a terminal reaches the
// parent alone. A process id, or a negated errno; a program that cannot be run ends with status 127.
static inline int linux_spawn_tied(const char *path, char *const arguments[], int output) {
    pid_t parent = getpid();
    pid_t child = fork();
    if (child) return child < 0 ? -errno : child;
    // Other threads do not exist here, and may have held any lock: system calls alone from here on.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    // The parent may have ended before the kernel was told.
    if (getppid() != parent) _exit(127);
    setpgid(0, 0);
    signal(SIGPIPE, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int empty = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (empty < 0 || dup2(empty, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0) _exit(127);
    execv(path, arguments);
    _exit(127);
}

#endif
