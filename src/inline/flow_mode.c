/* The modes: see flow_mode.h. */
#include "inline/flow_mode.h"

#include "base/limits.h"

#include <stdint.h>

const struct fk_flow_mode fk_flow_buffered = {
    .name = "buffered",
    .whole_max = SIZE_MAX,
    .holds = true,
    .acknowledges = true,
};

const struct fk_flow_mode fk_flow_streaming = {
    .name = "streaming",
    .whole_max = FK_FLOW_WHOLE_STREAMING,
    .holds = true,
    .acknowledges = true,
};

const struct fk_flow_mode fk_flow_hybrid = {
    .name = "hybrid",
    .whole_max = FK_FLOW_WHOLE_HYBRID,
    .holds = true,
    .acknowledges = true,
};

const struct fk_flow_mode fk_flow_mac_decides = {
    .name = "mac_decides",
    .whole_max = FK_FLOW_WHOLE_STREAMING,
    .holds = false,
    .acknowledges = true,
};
