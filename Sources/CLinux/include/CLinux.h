// System calls that Swift's Glibc module leaves out. Header only: static inline functions,
// so that no C source is compiled into the product.
#ifndef SMALLWORLD_CLINUX_H
#define SMALLWORLD_CLINUX_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);

#endif
