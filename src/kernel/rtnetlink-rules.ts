/**
 * Policy rules and next hop objects in rtnetlink (include/uapi/linux/rtnetlink.h). Nothing is read of
 * them: that they changed says to ask for routes again, and `Rtnetlink.route` goes by both.
 */
export const RTM_NEWRULE = 32;
export const RTM_DELRULE = 33;
export const RTM_NEWNEXTHOP = 104;
export const RTM_DELNEXTHOP = 105;

export const RTNLGRP_IPV4_RULE = 8;
export const RTNLGRP_IPV6_RULE = 19;
export const RTNLGRP_NEXTHOP = 32;
