/*
 * A packet filter: the first of RULES that fits says what becomes of the packet; its number is left
 * in the first byte of the frame. `bench/oracle-programs.ts` holds the rules.
 */
#include "bpf.h"

ENTRY int filter(struct xdp_md *context) {
  u8 *data = (u8 *)(long)context->data;
  u8 *end = (u8 *)(long)context->data_end;
  if (unlikely(data + ETHERNET + IPV4 + UDP > end)) return XDP_PASS;
  if (unlikely(*(u16 *)(data + 12) != to_host_16(ETH_P_IP))) return XDP_PASS;
  struct ipv4 *ip = (struct ipv4 *)(data + ETHERNET);
  if (unlikely(ip->version_ihl != 0x45)) return XDP_PASS;
  u8 protocol = ip->protocol;
  u32 source = to_host_32(ip->source);
  u16 source_port = to_host_16(*(u16 *)(data + ETHERNET + IPV4));
  u16 port = to_host_16(*(u16 *)(data + ETHERNET + IPV4 + 2));

#define RULE(number, network, mask, is_protocol, first, last, least_source, verdict)           \
  if ((source & (mask)) == (network) && protocol == (is_protocol) && port >= (first) &&         \
      port <= (last) && source_port >= (least_source)) {                                        \
    *data = (number);                                                                           \
    return verdict;                                                                             \
  }
  RULES
  *data = 255;
  return XDP_DROP;
}
