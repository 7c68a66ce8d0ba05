/* The agent, all four tunnels of both families: what src/datapath/agent/ emits, written as C. */
#include "bpf.h"

extern struct map carom_directors, carom_vips;

union key {
  u64 halves[2];
  u32 words[4];
};

static inline void ipv4_key(union key *key, u32 address) {
  key->halves[0] = 0;
  key->words[2] = 0xffff0000;
  key->words[3] = address;
}

static inline void ipv6_key(union key *key, u32 *address) {
  key->halves[0] = *(u64 *)address;
  key->halves[1] = *(u64 *)(address + 2);
}

#define LEAVE(name, verdict)              \
  ({                                      \
    count(region(), (name) * 16, length); \
    return verdict;                       \
  })

static inline void outer_key(union key *key, struct ipv4 *outer4, struct ipv6 *outer6) {
  if (outer4) ipv4_key(key, outer4->source);
  else ipv6_key(key, outer6->source);
}

static inline u32 ecn_of(struct ipv4 *header4, struct ipv6 *header6, int family) {
  return (family == 4 ? header4->tos : ((u8 *)header6)[1] >> 4) & 3;
}

/* RFC 1624 eqn. 3 for IPv4. */
static inline void change_ecn(struct ipv4 *header4, struct ipv6 *header6, int family, u32 before,
                              u32 after) {
  if (family == 4) {
    header4->tos ^= before ^ after;
    u32 sum = (to_host_16(header4->checksum) ^ 0xffff) + 0xffff + after - before;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    header4->checksum = to_host_16(~sum);
  } else {
    ((u8 *)header6)[1] ^= (before ^ after) << 4;
  }
}

/* `headers` are the bytes of all headers around the inner packet. One of outer4 and outer6 is 0. */
static inline int decapsulate(struct xdp_md *context, u8 *data, u8 *end, u32 length,
                              struct ipv4 *outer4, struct ipv6 *outer6, u32 headers,
                              u32 outer_length, int inner_family) {
  union key key;
  u32 inner_size = inner_family == 4 ? IPV4 : IPV6;
  if (unlikely(data + ETHERNET + headers + inner_size > end)) LEAVE(TOO_SHORT, XDP_PASS);
  struct ipv4 *inner4 = (struct ipv4 *)(data + ETHERNET + headers);
  struct ipv6 *inner6 = (struct ipv6 *)inner4;

  if (inner_family == 4) ipv4_key(&key, inner4->destination);
  else ipv6_key(&key, inner6->destination);
  if (unlikely(!bpf_map_lookup_elem(&carom_vips, &key))) {
    outer_key(&key, outer4, outer6);
    if (!bpf_map_lookup_elem(&carom_directors, &key)) LEAVE(NOT_A_VIP, XDP_PASS);
    LEAVE(FOREIGN_VIP, XDP_DROP);
  }
  outer_key(&key, outer4, outer6);
  if (unlikely(!bpf_map_lookup_elem(&carom_directors, &key))) LEAVE(STRANGER, XDP_DROP);

  u32 inner_length;
  u8 protocol;
  if (inner_family == 4) {
    if (unlikely(inner4->version_ihl >> 4 != 4)) LEAVE(MALFORMED, XDP_DROP);
    inner_length = to_host_16(inner4->total_length);
    if (unlikely(inner_length < IPV4)) LEAVE(MALFORMED, XDP_DROP);
    protocol = inner4->protocol;
  } else {
    if (unlikely(to_host_32(inner6->version_class_flow) >> 28 != 6)) LEAVE(MALFORMED, XDP_DROP);
    inner_length = to_host_16(inner6->payload_length) + IPV6;
    protocol = inner6->next_header;
  }
  if (unlikely(inner_length + headers > outer_length)) LEAVE(MALFORMED, XDP_DROP);
  if (unlikely(outer_length + ETHERNET > length)) LEAVE(MALFORMED, XDP_DROP);
  if (unlikely(protocol == IPPROTO_IPIP || protocol == IPPROTO_IPV6)) LEAVE(NESTED, XDP_DROP);

  u32 arrived = ecn_of(outer4, outer6, outer4 ? 4 : 6);
  if (arrived & 1) {
    u32 before = ecn_of(inner4, inner6, inner_family);
    if (arrived == 3) {
      if (before == 0) LEAVE(ECN_NOT_CAPABLE, XDP_DROP);
      if (before != 3) change_ecn(inner4, inner6, inner_family, before, 3);
    } else if (before == 2) {
      change_ecn(inner4, inner6, inner_family, before, 1);
    }
  }

  u64 mac_0 = *(u64 *)data;
  u32 mac_8 = *(u32 *)(data + 8);
  if (unlikely((int)bpf_xdp_adjust_head(context, headers) != 0)) LEAVE(NO_ROOM, XDP_DROP);
  data = (u8 *)(long)context->data;
  end = (u8 *)(long)context->data_end;
  if (unlikely(data + ETHERNET > end)) LEAVE(NO_ROOM, XDP_DROP);
  *(u64 *)data = mac_0;
  *(u32 *)(data + 8) = mac_8;
  *(u16 *)(data + 12) = inner_family == 4 ? to_host_16(ETH_P_IP) : to_host_16(ETH_P_IPV6);
  LEAVE(DECAPSULATED, XDP_PASS);
}

/* Which tunnel it is. */
static inline int unwrap(struct xdp_md *context, u8 *data, u8 *end, u32 length,
                         struct ipv4 *outer4, struct ipv6 *outer6, u8 protocol, u32 outer_length) {
  u32 outer_size = outer4 ? IPV4 : IPV6;
  u8 *payload = data + ETHERNET + outer_size;
#define INNER(family, shim) \
  decapsulate(context, data, end, length, outer4, outer6, outer_size + (shim), outer_length, family)

  if (protocol == IPPROTO_GRE) {
    if (unlikely(payload + GRE > end)) LEAVE(TOO_SHORT, XDP_PASS);
    if (unlikely(*(u16 *)payload != 0)) goto odd;
    u16 ether_type = *(u16 *)(payload + 2);
    if (ether_type == to_host_16(ETH_P_IP)) return INNER(4, GRE);
    if (unlikely(ether_type != to_host_16(ETH_P_IPV6))) goto odd;
    return INNER(6, GRE);
  }
  if (protocol == IPPROTO_UDP) {
    if (unlikely(payload + UDP > end)) LEAVE(TOO_SHORT, XDP_PASS);
    u16 port = *(u16 *)(payload + 2);
    if (port == to_host_16(FOU_PORT)) return INNER(4, UDP);
    if (port == to_host_16(FOU_PORT_IPV6)) return INNER(6, UDP);
    if (port != to_host_16(GUE_PORT)) LEAVE(NOT_ENCAPSULATED, XDP_PASS);
    if (unlikely(payload + UDP + GUE > end)) LEAVE(TOO_SHORT, XDP_PASS);
    u32 gue = *(u32 *)(payload + UDP);
    if (gue == to_host_32(IPPROTO_IPIP << 16)) return INNER(4, UDP + GUE);
    if (unlikely(gue != to_host_32(IPPROTO_IPV6 << 16))) goto odd;
    return INNER(6, UDP + GUE);
  }
  if (protocol == IPPROTO_IPIP) return INNER(4, 0);
  return INNER(6, 0);

odd:;
  union key key;
  outer_key(&key, outer4, outer6);
  if (!bpf_map_lookup_elem(&carom_directors, &key)) LEAVE(NOT_ENCAPSULATED, XDP_PASS);
  LEAVE(MALFORMED, XDP_DROP);
}

static inline int is_tunnel(u8 protocol) {
  return protocol == IPPROTO_IPIP || protocol == IPPROTO_IPV6 || protocol == IPPROTO_GRE ||
         protocol == IPPROTO_UDP;
}

ENTRY int agent(struct xdp_md *context) {
  u8 *data = (u8 *)(long)context->data;
  u8 *end = (u8 *)(long)context->data_end;
  u32 length = end - data;

  if (unlikely(data + ETHERNET > end)) LEAVE(TOO_SHORT, XDP_PASS);
  u16 ether_type = *(u16 *)(data + 12);
  if (ether_type == to_host_16(ETH_P_IP)) {
    if (unlikely(data + ETHERNET + IPV4 > end)) LEAVE(TOO_SHORT, XDP_PASS);
    struct ipv4 *outer = (struct ipv4 *)(data + ETHERNET);
    u8 protocol = outer->protocol;
    if (!is_tunnel(protocol)) LEAVE(NOT_ENCAPSULATED, XDP_PASS);
    if (outer->version_ihl != 0x45) LEAVE(NOT_ENCAPSULATED, XDP_PASS);
    if (outer->flags_fragment & to_host_16(IP_MF | IP_OFFSET)) LEAVE(NOT_ENCAPSULATED, XDP_PASS);
    u32 outer_length = to_host_16(outer->total_length);
    return unwrap(context, data, end, length, outer, 0, protocol, outer_length);
  }
  if (ether_type != to_host_16(ETH_P_IPV6)) LEAVE(NOT_ENCAPSULATED, XDP_PASS);
  if (unlikely(data + ETHERNET + IPV6 > end)) LEAVE(TOO_SHORT, XDP_PASS);
  struct ipv6 *outer = (struct ipv6 *)(data + ETHERNET);
  if (to_host_32(outer->version_class_flow) >> 28 != 6) LEAVE(NOT_ENCAPSULATED, XDP_PASS);
  u8 next_header = outer->next_header;
  if (!is_tunnel(next_header)) LEAVE(NOT_ENCAPSULATED, XDP_PASS);
  u32 outer_length = to_host_16(outer->payload_length) + IPV6;
  return unwrap(context, data, end, length, 0, outer, next_header, outer_length);
}
