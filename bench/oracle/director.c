/*
 * The director for IPv4 services, with members forwarded by l2 (FORWARD_L2) or by ipip over IPv4:
 * what src/datapath/director/ emits, written as C.
 */
#include "bpf.h"

extern u8 carom_arena[] __attribute__((aligned(64)));

struct slot {
  u64 key0, key1;
  u32 key2, buckets, bucket_mask, members, counter, hash_words;
  u64 hash_sum;
};

struct member {
  u32 way, next_hop, counter;
  u16 mtu, aligned;
  u32 outer_sum, more;
  u32 source[4], destination[4];
};

struct next_hop {
  u64 addresses;
  u32 source_rest, ifindex;
};

struct macs {
  u64 addresses;
  u32 source_rest;
};

#define ARENA(type, size, offset) ((type *)(carom_arena + ((offset) & (ARENA_BYTES - (size)))))

static inline struct slot *look_up(u64 key0) {
  u8 *start = ARENA(u8, 64, *(u32 *)carom_arena);
  u64 hash = __builtin_bswap64(key0 * 0x9e3779b97f4a7c15ull) * *(u64 *)start;
  u32 bucket = (u32)(hash >> 18) & ((DISPLACEMENTS - 1) << 2);
  u32 displacement = *(u32 *)(start + bucket + DISPLACEMENTS_AT);
  u32 index = ((u32)(hash >> 34) ^ displacement) & ((SLOTS - 1) << 6);
  return (struct slot *)(start + index + SLOTS_AT);
}

static inline int is_vip(u32 address) {
  u64 vip = address | (u64)256 << 48;
  return look_up(vip)->key0 == vip;
}

static inline void write_macs(u8 *data, u64 addresses, u32 source_rest) {
  *(u64 *)data = addresses;
  *(u32 *)(data + 8) = source_rest;
}

ENTRY int director(struct xdp_md *context) {
  u8 *data = (u8 *)(long)context->data;
  u8 *end = (u8 *)(long)context->data_end;
  u32 length = end - data;
  u32 reason;

#define PASS_AS(name) ({ reason = name; goto pass; })
#define DROP_AS(name) ({ reason = name; goto drop; })

  if (unlikely(data + ETHERNET > end)) PASS_AS(TOO_SHORT);
  if (unlikely(*(u32 *)data != MAC_0 || *(u16 *)(data + 4) != MAC_4)) PASS_AS(NOT_FOR_US);
  u16 ether_type = *(u16 *)(data + 12);
  if (unlikely(ether_type != to_host_16(ETH_P_IP))) {
    if (ether_type == to_host_16(ETH_P_IPV6)) PASS_AS(NOT_A_SERVICE);
    PASS_AS(NOT_IP);
  }

  if (unlikely(data + ETHERNET + IPV4 + UDP > end)) PASS_AS(TOO_SHORT);
  struct ipv4 *ip = (struct ipv4 *)(data + ETHERNET);
  u8 *ports = data + ETHERNET + IPV4;
  u32 destination = ip->destination;
  u32 header_bytes = IPV4;
  if (unlikely(ip->version_ihl != 0x45)) {
    if (ip->version_ihl <= 0x45 || ip->version_ihl > 0x4f) PASS_AS(NOT_A_SERVICE);
    if (ip->flags_fragment & to_host_16(IP_MF | IP_OFFSET)) goto fragment;
    if (!is_vip(destination)) PASS_AS(NOT_A_SERVICE);
    header_bytes = (ip->version_ihl & 15) << 2;
    ports = data + ETHERNET + header_bytes;
    if (ports + UDP > end) DROP_AS(MALFORMED);
  } else if (unlikely(ip->flags_fragment & to_host_16(IP_MF | IP_OFFSET))) {
    goto fragment;
  }

  u8 protocol = ip->protocol;
  u64 key0 = destination | (u64)*(u16 *)(ports + 2) << 32 | (u64)protocol << 48;
  struct slot *slot = look_up(key0);
  if (unlikely(slot->key0 != key0)) PASS_AS(NOT_A_SERVICE);
  u32 ip_length = to_host_16(ip->total_length);
  if (unlikely(ip_length < header_bytes + UDP)) DROP_AS(MALFORMED);
  if (unlikely(ip_length + ETHERNET > length)) DROP_AS(MALFORMED);
  u32 hash = finish(slot->hash_sum + K1 * ip->source + K3 * *(u16 *)ports);

  u32 owner = *ARENA(u32, 4, slot->buckets + ((hash << 2) & slot->bucket_mask)) & 0xffff;
  if (unlikely(owner == 0xffff)) DROP_AS(NO_BACKEND);
  struct member *member = ARENA(struct member, 64, slot->members + (owner << 6));
  struct next_hop *next_hop = ARENA(struct next_hop, 32, member->next_hop);
  u64 addresses = next_hop->addresses;
  if (unlikely(addresses & 1)) DROP_AS(NO_NEXT_HOP);
  u32 way = member->way;

#ifdef FORWARD_L2
  if (unlikely(way != (IFINDEX << 8 | 1))) {
    if ((way & 0xff) != 1) DROP_AS(INTERNAL);
    if (ip_length > member->mtu) DROP_AS(TOO_BIG);
    write_macs(data, addresses, next_hop->source_rest);
    goto redirect;
  }
  write_macs(data, addresses, MAC_2);
#else
  if (unlikely((way & 0xff) != 2)) DROP_AS(INTERNAL);
  u8 traffic_class = ip->tos;
  if (unlikely(ip->ttl <= 1)) DROP_AS(TIME_EXCEEDED_SILENT);
  if (unlikely(ip_length + IPV4 > member->mtu)) DROP_AS(TOO_BIG);
  ip->ttl -= 1;
  u32 header_sum = ip->checksum + 1;
  ip->checksum = header_sum + ((header_sum + 1) >> 16);
  if (unlikely((int)bpf_xdp_adjust_head(context, -IPV4) != 0)) DROP_AS(NO_HEADROOM);
  data = (u8 *)(long)context->data;
  end = (u8 *)(long)context->data_end;
  if (unlikely(data + ETHERNET + IPV4 > end)) DROP_AS(INTERNAL);
  write_macs(data, addresses, next_hop->source_rest);
  *(u16 *)(data + 12) = to_host_16(ETH_P_IP);
  struct ipv4 *outer = (struct ipv4 *)(data + ETHERNET);
  u16 total_length = to_host_16(ip_length + IPV4);
  outer->version_ihl = 0x45;
  outer->tos = traffic_class;
  outer->total_length = total_length;
  outer->identification = 0;
  outer->flags_fragment = to_host_16(IP_DF);
  outer->ttl = 64;
  outer->protocol = IPPROTO_IPIP;
  u32 sum = member->outer_sum + ((u32)traffic_class << 8) + total_length;
  sum = (sum & 0xffff) + (sum >> 16);
  sum += sum >> 16;
  outer->checksum = ~sum;
  outer->source = member->source[0];
  outer->destination = member->destination[0];
#endif

  u8 *own = region();
  count(own, slot->counter, length);
  count(own, member->counter, length);
#ifdef FORWARD_IPIP
  if (unlikely(next_hop->ifindex != IFINDEX)) return bpf_redirect(next_hop->ifindex, 0);
#endif
  return XDP_TX;

#ifdef FORWARD_L2
redirect:
  own = region();
  count(own, slot->counter, length);
  count(own, member->counter, length);
  return bpf_redirect(next_hop->ifindex, 0);
#endif
fragment:
  if (is_vip(destination)) DROP_AS(FRAGMENT);
  reason = NOT_A_SERVICE;
pass:
  count(region(), reason * 16, length);
  return XDP_PASS;
drop:
  count(region(), reason * 16, length);
  return XDP_DROP;
}
