/* What the oracles share: the types, verdicts and helpers of include/uapi/linux/bpf.h that they use. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

enum { XDP_DROP = 1, XDP_PASS = 2, XDP_TX = 3 };

struct xdp_md {
  u32 data;
  u32 data_end;
  u32 data_meta;
  u32 ingress_ifindex;
  u32 rx_queue_index;
  u32 egress_ifindex;
};

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static u32 (*bpf_get_smp_processor_id)(void) = (void *)8;
static long (*bpf_redirect)(u32 ifindex, u64 flags) = (void *)23;
static long (*bpf_xdp_adjust_head)(struct xdp_md *context, int delta) = (void *)44;

/* The reader of the object file makes a map of each symbol that is declared but not defined. */
#define ENTRY __attribute__((section("xdp"), used))
#define inline inline __attribute__((always_inline))
#define unlikely(condition) __builtin_expect(!!(condition), 0)
#define to_host_16(value) __builtin_bswap16(value)
#define to_host_32(value) __builtin_bswap32(value)

enum { ETH_P_IP = 0x0800, ETH_P_IPV6 = 0x86dd };
enum { IPPROTO_IPIP = 4, IPPROTO_UDP = 17, IPPROTO_IPV6 = 41, IPPROTO_GRE = 47 };
enum { IP_DF = 0x4000, IP_MF = 0x2000, IP_OFFSET = 0x1fff };

/* Not packed: a packed struct would be read byte by byte. */
struct ipv4 {
  u8 version_ihl;
  u8 tos;
  u16 total_length;
  u16 identification;
  u16 flags_fragment;
  u8 ttl;
  u8 protocol;
  u16 checksum;
  u32 source;
  u32 destination;
};

struct ipv6 {
  u32 version_class_flow;
  u16 payload_length;
  u8 next_header;
  u8 hop_limit;
  u32 source[4];
  u32 destination[4];
};

enum { ETHERNET = 14, IPV4 = 20, IPV6 = 40, UDP = 8, GRE = 4, GUE = 4 };

/* As src/datapath/counters.ts: one region for each CPU. */
struct counter {
  u64 packets;
  u64 bytes;
};

#ifdef REGION_BYTES
extern u8 carom_counters[] __attribute__((aligned(128)));

static inline u8 *region(void) {
  return carom_counters + ((bpf_get_smp_processor_id() * REGION_BYTES) & (COUNTERS_BYTES - REGION_BYTES));
}

static inline void count(u8 *region, u32 offset, u32 length) {
  struct counter *counter = (struct counter *)(region + (offset & (REGION_BYTES - 16)));
  counter->packets += 1;
  counter->bytes += length;
}
#endif

/* As src/datapath/flow-hash.ts. */
static inline u32 finish(u64 sum) {
  u32 hash = sum >> 32;
  hash ^= hash >> 16;
  hash *= 0x85ebca6b;
  hash ^= hash >> 13;
  hash *= 0xc2b2ae35;
  return hash ^ hash >> 16;
}
