// chaosload - publishers and subscribers that notice everything, while somebody else breaks servers.
//
// Each publisher writes to each subscriber's own channel in turn and, every --everybody messages, to
// one channel that all of them subscribe to. Each message carries its publisher, its channel and its
// number among the messages of these two; a bitmap per (publisher, channel, subscriber) then says
// exactly what was lost, what came twice, and what came after a later one.
//
// The load is open: what a server does not take now waits here, and is sent as soon as it does. A
// publisher with more than 4 MB waiting makes no more until that has halved; how long any of them
// was stuck without a single byte being taken is in the result. A connection that the server closes
// is made anew at the same server, as a client library would.
//
// Prints READY when every subscriber has heard from every publisher, and one JSON line at the end.
//
// Build: cc -O2 -Wall -o chaosload chaosload.c
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { RESP, NATS };
#define PROBE 0xffffffffu
#define BACKLOG_MAX (4u << 20)
#define READ_SIZE (256 * 1024)

typedef struct {
  uint16_t publisher, channel;   // channel == subscribers: the one of everybody
  uint32_t number;
  uint64_t time;                 // CLOCK_MONOTONIC, ns
} Stamp;

typedef struct {
  int fd;                        // -1: to be connected again
  int index;
  bool is_subscriber, writes_armed, is_withheld;
  struct sockaddr_in *server;
  uint8_t *in; size_t in_count, in_capacity;
  uint8_t *out; size_t out_head, out_count, out_capacity;
  uint64_t asked, answered;      // commands and replies, of publishers
  uint64_t confirmed;            // subscriptions
  uint64_t stuck_since;          // when the last byte was taken while more waited; 0: nothing waits
  uint64_t retry_at;
} Conn;

typedef struct { uint8_t *seen; uint32_t capacity, next, count; bool probed; } Stream;

static struct {
  int proto, publishers, subscribers, size, everybody;
  double rate, seconds, drain, lead;
  const char *prefix, *publish, *subscribe;
  struct sockaddr_in pub_servers[64], sub_servers[64];
  int pub_server_count, sub_server_count;
} o = { .publishers = 16, .subscribers = 16, .size = 128, .everybody = 17, .rate = 20000,
        .seconds = 60, .drain = 15, .lead = 1, .prefix = "chaos.", .publish = "PUBLISH",
        .subscribe = "SUBSCRIBE" };

static int poller;
static Conn *conns;
static Stream *streams;          // [publisher][subscriber][0: own channel, 1: everybody's]
static uint32_t *numbers;        // [publisher][channel]: the next one
static uint64_t sent, copies, duplicated, reordered, misrouted, errors, disconnected, told_none;
static uint64_t longest_stuck, last_received, latency_max, probes_missing;
static bool is_counting;

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ull + t.tv_nsec;
}
static void die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  exit(2);
}

// ---- latency: 64 steps per octave ---------------------------------------------------------------
static uint64_t histogram[64 * 64];
static void note_latency(uint64_t ns) {
  int octave = ns < 64 ? 0 : 63 - __builtin_clzll(ns) - 5;
  histogram[octave * 64 + (octave ? (ns >> (octave - 1)) & 63 : ns)]++;
  if (ns > latency_max) latency_max = ns;
}
static double quantile(double share) {
  uint64_t total = 0, sum = 0;
  for (int i = 0; i < 64 * 64; i++) total += histogram[i];
  for (int i = 0; i < 64 * 64; i++) {
    sum += histogram[i];
    if (total && sum > share * total) {
      int octave = i / 64;
      return octave ? (double)(64 + (i & 63)) * (double)(1ull << (octave - 1)) : i;
    }
  }
  return 0;
}

// ---- output -------------------------------------------------------------------------------------
static void put(Conn *c, const void *bytes, size_t size) {
  if (c->out_head + c->out_count + size > c->out_capacity) {
    if (c->out_head) memmove(c->out, c->out + c->out_head, c->out_count), c->out_head = 0;
    if (c->out_count + size > c->out_capacity) {
      c->out_capacity = (c->out_count + size) * 2;
      if (!(c->out = realloc(c->out, c->out_capacity))) die("no memory");
    }
  }
  memcpy(c->out + c->out_head + c->out_count, bytes, size);
  c->out_count += size;
}
static void arm(Conn *c, bool writes) {
  if (c->writes_armed == writes) return;
  struct epoll_event event = { .events = EPOLLIN | (writes ? EPOLLOUT : 0), .data.ptr = c };
  epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
  c->writes_armed = writes;
}
static void lost_connection(Conn *c) {
  disconnected++;
  close(c->fd);
  c->fd = -1;
  c->in_count = c->out_head = c->out_count = 0;
  c->asked = c->answered = 0;
  c->stuck_since = 0;
  c->writes_armed = c->is_withheld = false;
  c->retry_at = now_ns() + 100000000;
}
static void note_stuck(Conn *c, uint64_t now) {
  if (c->stuck_since && now - c->stuck_since > longest_stuck) longest_stuck = now - c->stuck_since;
}
static void flush(Conn *c, uint64_t now) {
  while (c->fd >= 0 && c->out_count) {
    ssize_t count = send(c->fd, c->out + c->out_head, c->out_count, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) {
      if (!c->stuck_since) c->stuck_since = now;
      note_stuck(c, now);
      arm(c, true);
      return;
    }
    if (count < 0) { lost_connection(c); return; }
    note_stuck(c, now);
    c->stuck_since = 0;
    c->out_head += count;
    c->out_count -= count;
  }
  if (c->fd < 0) return;
  c->out_head = 0;
  arm(c, false);
}

// ---- the protocols ------------------------------------------------------------------------------
static int channel_name(char *to, int channel) {
  return channel == o.subscribers ? sprintf(to, "%severybody", o.prefix)
                                  : sprintf(to, "%ss%05d", o.prefix, channel);
}
static void greet(Conn *c) {
  if (o.proto == NATS) {
    static const char hello[] = "CONNECT {\"verbose\":false,\"pedantic\":false,\"tls_required\":false,"
                                "\"lang\":\"c\",\"version\":\"0\",\"protocol\":1}\r\n";
    put(c, hello, sizeof hello - 1);
  }
  if (!c->is_subscriber) return;
  for (int k = 0; k < 2; k++) {
    char name[128], line[256];
    int channel = k ? o.subscribers : c->index, length = channel_name(name, channel);
    int size = o.proto == RESP
      ? sprintf(line, "*2\r\n$%zu\r\n%s\r\n$%d\r\n%s\r\n", strlen(o.subscribe), o.subscribe, length, name)
      : sprintf(line, "SUB %s %d\r\n", name, k + 1);
    put(c, line, size);
  }
  if (o.proto == NATS) put(c, "PING\r\n", 6);
}
static void publish(Conn *c, int channel, uint32_t number, uint64_t now) {
  static uint8_t payload[65536 + 2];
  char name[128], line[320];
  int length = channel_name(name, channel);
  Stamp stamp = { c->index, channel, number, now };
  memcpy(payload, &stamp, sizeof stamp);
  payload[o.size] = '\r';
  payload[o.size + 1] = '\n';
  int size = o.proto == RESP
    ? sprintf(line, "*3\r\n$%zu\r\n%s\r\n$%d\r\n%s\r\n$%d\r\n", strlen(o.publish), o.publish, length, name, o.size)
    : sprintf(line, "PUB %s %d\r\n", name, o.size);
  put(c, line, size);
  put(c, payload, o.size + 2);
  if (o.proto == RESP) c->asked++;
}
static Stream *stream(int publisher, int subscriber, bool is_everybodys) {
  return &streams[(publisher * o.subscribers + subscriber) * 2 + is_everybodys];
}
static void on_message(Conn *c, const uint8_t *payload, int64_t size, uint64_t now) {
  Stamp stamp;
  if (!c->is_subscriber || size != o.size) { errors++; return; }
  memcpy(&stamp, payload, sizeof stamp);
  if (stamp.publisher >= o.publishers || (stamp.channel != c->index && stamp.channel != o.subscribers)) {
    misrouted++;
    return;
  }
  Stream *s = stream(stamp.publisher, c->index, stamp.channel == o.subscribers);
  if (stamp.number == PROBE) {
    if (!s->probed) s->probed = true, probes_missing--;
    return;
  }
  if (stamp.number >= numbers[stamp.publisher * (o.subscribers + 1) + stamp.channel]) { misrouted++; return; }
  if (stamp.number / 8 >= s->capacity) {
    uint32_t capacity = stamp.number / 8 * 2 + 1024;
    if (!(s->seen = realloc(s->seen, capacity))) die("no memory");
    memset(s->seen + s->capacity, 0, capacity - s->capacity);
    s->capacity = capacity;
  }
  uint8_t bit = 1 << stamp.number % 8, *byte = &s->seen[stamp.number / 8];
  if (*byte & bit) { duplicated++; return; }
  *byte |= bit;
  s->count++;
  copies++;
  if (stamp.number < s->next) reordered++; else s->next = stamp.number + 1;
  note_latency(now - stamp.time);
  last_received = now;
}
// "<int>\r\n"; NULL when it is incomplete.
static const uint8_t *number_at(const uint8_t *p, const uint8_t *end, int64_t *value) {
  const uint8_t *line = memchr(p, '\n', end - p);
  if (!line) return NULL;
  *value = strtoll((const char *)p, NULL, 10);
  return line + 1;
}
// One value; the position behind it, or NULL when it is incomplete.
static const uint8_t *take_resp(Conn *c, const uint8_t *p, const uint8_t *end, uint64_t now) {
  int64_t n, length;
  switch (*p) {
  case ':':
    if (!(p = number_at(p + 1, end, &n))) return NULL;
    c->answered++;
    if (n == 0 && is_counting) told_none++;
    return p;
  case '*': {
    if (!(p = number_at(p + 1, end, &n))) return NULL;
    const uint8_t *kind = NULL, *last = NULL;
    int64_t last_length = 0;
    for (int64_t i = 0; i < n; i++) {
      if (p >= end) return NULL;
      uint8_t type = *p;
      if (!(p = number_at(p + 1, end, &length))) return NULL;
      if (type == ':' || length < 0) continue;
      if (end - p < length + 2) return NULL;
      if (i == 0) kind = p;
      last = p;
      last_length = length;
      p += length + 2;
    }
    if (kind && (kind[0] == 'm' || (kind[0] == 's' && kind[1] == 'm'))) on_message(c, last, last_length, now);
    else c->confirmed++;
    return p;
  }
  default: {
    const uint8_t *line = memchr(p, '\n', end - p);
    if (!line) return NULL;
    if (*p == '-') {
      c->answered++;
      if (!errors++) fprintf(stderr, "a server says: %.*s\n", (int)(line - p), p);
    }
    return line + 1;
  }
  }
}
static const uint8_t *take_nats(Conn *c, const uint8_t *p, const uint8_t *end, uint64_t now) {
  const uint8_t *line = memchr(p, '\n', end - p);
  if (!line) return NULL;
  if (*p == 'M') {   // MSG subject sid size
    const uint8_t *word = line;
    while (word[-1] != ' ') word--;
    int64_t length = strtoll((const char *)word, NULL, 10);
    if (end - (line + 1) < length + 2) return NULL;
    on_message(c, line + 1, length, now);
    return line + 1 + length + 2;
  }
  if (p[0] == 'P' && p[1] == 'I') put(c, "PONG\r\n", 6);
  else if (p[0] == 'P') { if (c->is_subscriber) c->confirmed = 2; else c->answered++; }
  else if (p[0] == '-' && !errors++) fprintf(stderr, "a server says: %.*s\n", (int)(line - p), p);
  return line + 1;
}
static void take_input(Conn *c) {
  if (c->in_capacity < c->in_count + READ_SIZE) {
    c->in_capacity = c->in_count + READ_SIZE;
    if (!(c->in = realloc(c->in, c->in_capacity + 1))) die("no memory");
  }
  ssize_t count = recv(c->fd, c->in + c->in_count, READ_SIZE, 0);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count <= 0) { lost_connection(c); return; }
  uint64_t now = now_ns();
  c->in_count += count;
  const uint8_t *p = c->in, *end = c->in + c->in_count, *next;
  while (p < end && (next = o.proto == RESP ? take_resp(c, p, end, now) : take_nats(c, p, end, now))) p = next;
  memmove(c->in, p, end - p);
  c->in_count = end - p;
}

// ---- connections --------------------------------------------------------------------------------
static bool dial(Conn *c) {
  int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0) die("socket: %s", strerror(errno));
  if (connect(fd, (void *)c->server, sizeof *c->server) < 0) {
    close(fd);
    c->retry_at = now_ns() + 100000000;
    return false;
  }
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };
  epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
  c->fd = fd;
  greet(c);
  flush(c, now_ns());
  return true;
}
static void turn(int64_t wait_ns) {
  struct epoll_event events[256];
  struct timespec wait = { wait_ns / 1000000000, wait_ns % 1000000000 };
  int count = epoll_pwait2(poller, events, 256, &wait, NULL);
  uint64_t now = now_ns();
  for (int i = 0; i < count; i++) {
    Conn *c = events[i].data.ptr;
    if (c->fd >= 0 && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) take_input(c);
    if (c->fd >= 0 && c->out_count) flush(c, now);
  }
  for (int i = 0; i < o.publishers + o.subscribers; i++)
    if (conns[i].fd < 0 && conns[i].retry_at <= now) dial(&conns[i]);
}
static int servers_of(char *text, struct sockaddr_in *to) {
  int count = 0;
  for (char *rest = NULL, *word = strtok_r(text, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
    char *colon = strrchr(word, ':');
    if (!colon || count == 64) die("not a list of HOST:PORT");
    *colon = 0;
    to[count].sin_family = AF_INET;
    to[count].sin_port = htons(atoi(colon + 1));
    if (inet_pton(AF_INET, word, &to[count].sin_addr) != 1) die("%s is no address", word);
    count++;
  }
  return count;
}

static void options(int count, char **words) {
  static struct option names[] = {
    {"proto", 1, 0, 'r'}, {"pub", 1, 0, 'p'}, {"sub", 1, 0, 's'}, {"publishers", 1, 0, 'P'},
    {"subscribers", 1, 0, 'S'}, {"rate", 1, 0, 'R'}, {"seconds", 1, 0, 't'}, {"drain", 1, 0, 'd'},
    {"size", 1, 0, 'z'}, {"everybody", 1, 0, 'e'}, {"publish", 1, 0, 'u'}, {"subscribe", 1, 0, 'b'},
    {"lead", 1, 0, 'l'}, {0}};
  for (int name; (name = getopt_long(count, words, "", names, NULL)) != -1;) switch (name) {
    case 'r': o.proto = strcmp(optarg, "nats") ? RESP : NATS; break;
    case 'p': o.pub_server_count = servers_of(optarg, o.pub_servers); break;
    case 's': o.sub_server_count = servers_of(optarg, o.sub_servers); break;
    case 'P': o.publishers = atoi(optarg); break;
    case 'S': o.subscribers = atoi(optarg); break;
    case 'R': o.rate = atof(optarg); break;
    case 't': o.seconds = atof(optarg); break;
    case 'd': o.drain = atof(optarg); break;
    case 'l': o.lead = atof(optarg); break;
    case 'z': o.size = atoi(optarg); break;
    case 'e': o.everybody = atoi(optarg); break;
    case 'u': o.publish = optarg; break;
    case 'b': o.subscribe = optarg; break;
    default: exit(2);
  }
  if (!o.pub_server_count || !o.sub_server_count) die("--pub and --sub are needed");
  if (o.size < (int)sizeof(Stamp) || o.size > 65536) die("--size is %zu … 65536", sizeof(Stamp));
}

int main(int count, char **words) {
  signal(SIGPIPE, SIG_IGN);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  setvbuf(stdout, NULL, _IOLBF, 0);
  options(count, words);
  int channels = o.subscribers + 1, conn_count = o.publishers + o.subscribers;
  poller = epoll_create1(0);
  conns = calloc(conn_count, sizeof *conns);
  streams = calloc((size_t)o.publishers * o.subscribers * 2, sizeof *streams);
  numbers = calloc((size_t)o.publishers * channels, sizeof *numbers);
  for (int i = 0; i < conn_count; i++) {
    Conn *c = &conns[i];
    c->is_subscriber = i >= o.publishers;
    c->index = c->is_subscriber ? i - o.publishers : i;
    c->server = c->is_subscriber ? &o.sub_servers[c->index % o.sub_server_count]
                                 : &o.pub_servers[c->index % o.pub_server_count];
    if (!dial(c)) die("connect to port %d: %s", ntohs(c->server->sin_port), strerror(errno));
  }

  // Every publisher is heard by every subscriber on both channels before anything is counted.
  probes_missing = (uint64_t)o.publishers * o.subscribers * 2;
  uint64_t limit = now_ns() + 30000000000ull;
  while (probes_missing) {
    if (now_ns() > limit) die("%" PRIu64 " pairs have never heard of each other", probes_missing);
    for (int p = 0; p < o.publishers; p++) {
      for (int channel = 0; channel < channels; channel++) publish(&conns[p], channel, PROBE, 0);
      flush(&conns[p], now_ns());
    }
    for (uint64_t end = now_ns() + 200000000; probes_missing && now_ns() < end;) turn(5000000);
  }
  if (disconnected) die("a connection was closed before the load began");
  printf("READY\n");
  for (uint64_t end = now_ns() + o.lead * 1e9; now_ns() < end;) turn(5000000);

  is_counting = true;
  uint64_t start = now_ns(), made = 0, intended = o.rate * o.seconds, withheld = 0;
  double interval = 1e9 / o.rate;
  uint64_t end = start + o.seconds * 1e9;
  uint32_t *turns = calloc(o.publishers, sizeof *turns);
  while (made + withheld < intended || now_ns() < end) {
    uint64_t now = now_ns(), due = (now < end ? now - start : end - start) / interval;
    if (due > intended) due = intended;
    while (made + withheld < due) {
      int p = (made + withheld) % o.publishers;
      Conn *c = &conns[p];
      if (c->out_count > BACKLOG_MAX) c->is_withheld = true;
      if (c->out_count < BACKLOG_MAX / 2) c->is_withheld = false;
      if (c->fd < 0 || c->is_withheld) { withheld++; continue; }
      int channel = o.everybody && turns[p] % o.everybody == o.everybody - 1u
        ? o.subscribers : (int)((turns[p] + p) % o.subscribers);
      turns[p]++;
      publish(c, channel, numbers[p * channels + channel]++, now);
      made++;
    }
    sent = made;
    for (int p = 0; p < o.publishers; p++) if (conns[p].out_count && !conns[p].writes_armed) flush(&conns[p], now);
    turn(made + withheld < intended ? 1000000 : 1000000);
  }
  // Everything may arrive late: waiting ends when nothing has come for the time of --drain.
  if (o.proto == NATS) for (int p = 0; p < o.publishers; p++) if (conns[p].fd >= 0) put(&conns[p], "PING\r\n", 6), conns[p].asked++, flush(&conns[p], now_ns());
  uint64_t expected = 0, unanswered = 0, waiting = 0;
  for (int p = 0; p < o.publishers; p++)
    for (int channel = 0; channel < channels; channel++)
      expected += (uint64_t)numbers[p * channels + channel] * (channel == o.subscribers ? o.subscribers : 1);
  uint64_t calm = now_ns(), marked = 0;
  do {
    unanswered = waiting = 0;
    for (int p = 0; p < o.publishers; p++) {
      if (conns[p].asked > conns[p].answered) unanswered += conns[p].asked - conns[p].answered;
      waiting += conns[p].out_count;
    }
    if (copies + duplicated != marked) marked = copies + duplicated, calm = now_ns();
    if (copies == expected && !unanswered && !waiting) break;
    turn(5000000);
  } while (now_ns() - calm < o.drain * 1e9);
  // Copies that come twice come late.
  for (uint64_t late = now_ns() + 500000000; now_ns() < late;) turn(5000000);

  uint64_t now = now_ns(), lossy = 0;
  for (int p = 0; p < o.publishers; p++) note_stuck(&conns[p], now);
  for (int p = 0; p < o.publishers; p++)
    for (int s = 0; s < o.subscribers; s++)
      for (int k = 0; k < 2; k++)
        lossy += stream(p, s, k)->count < numbers[p * channels + (k ? o.subscribers : s)];
  printf("{\"sent\": %" PRIu64 ", \"copies\": %" PRIu64 ", \"received\": %" PRIu64 ", \"lost\": %" PRIu64
         ", \"duplicated\": %" PRIu64 ", \"reordered\": %" PRIu64 ", \"misrouted\": %" PRIu64 ", \"errors\": %" PRIu64
         ", \"withheld\": %" PRIu64 ", \"toldNone\": %" PRIu64 ", \"unanswered\": %" PRIu64 ", \"unsentBytes\": %" PRIu64
         ", \"disconnected\": %" PRIu64 ", \"lossyStreams\": %" PRIu64 ", \"longestStuckSeconds\": %.3f"
         ", \"latencyMilliseconds\": {\"p50\": %.3f, \"p99\": %.3f, \"max\": %.3f}}\n",
         sent, expected, copies, expected - copies, duplicated, reordered, misrouted, errors, withheld, told_none,
         unanswered, waiting, disconnected, lossy, longest_stuck / 1e9, quantile(.5) / 1e6, quantile(.99) / 1e6,
         latency_max / 1e6);
  return 0;
}
