-- Health of every kind of tidemill.io for Argo CD, from the conditions that the operator writes:
--   Stalled=True     Degraded     a person must act; the message says what
--   Reconciling=True Progressing  or Suspended while a person's decision is awaited
--   Ready=True       Healthy      the applied spec is in effect
-- Uses the base library only (no useOpenLibs). tidemill.io/_ is Argo CD's layout for "all kinds of the group".
local function health(status, message)
  return { status = status, message = message }
end

if obj.metadata.deletionTimestamp ~= nil then
  return health("Progressing", "Pending deletion")
end
if obj.status == nil or obj.status.observedGeneration == nil then
  return health("Progressing", "Waiting for the operator")
end

local conditions = {}
for _, condition in ipairs(obj.status.conditions or {}) do
  conditions[condition.type] = condition
end
local function is(kind, status)
  return conditions[kind] ~= nil and conditions[kind].status == status
end
local function text(kind)
  return (conditions[kind].reason or "") .. ": " .. (conditions[kind].message or "")
end

if obj.status.observedGeneration == -1 then -- the default: no status was written yet
  return health("Progressing", conditions.Ready ~= nil and text("Ready") or "Waiting for the operator")
end
if obj.metadata.generation ~= nil and obj.status.observedGeneration ~= obj.metadata.generation then
  return health("Progressing", "Waiting for the operator to observe the latest generation")
end
if is("Stalled", "True") then
  return health("Degraded", text("Stalled"))
end
if obj.spec ~= nil and obj.spec.suspend == true then
  return health("Suspended", "spec.suspend is true")
end
-- Decisions of people: the approval of a version, the promotion of a canary that has no duration.
local decisions = { AwaitingApproval = true, WaitingForApproval = true, WaitingForPromotion = true }
for _, kind in ipairs({ "Reconciling", "Progressing", "Approved" }) do
  local condition = conditions[kind]
  if condition ~= nil and decisions[condition.reason or ""] then
    return health("Suspended", text(kind))
  end
end
if is("Reconciling", "True") then
  return health("Progressing", text("Reconciling"))
end
if conditions.Ready == nil then
  return health("Progressing", "Waiting for the condition Ready")
end
if is("Ready", "True") then
  return health("Healthy", text("Ready"))
end
if is("Ready", "False") then
  return health("Degraded", text("Ready"))
end
return health("Progressing", text("Ready"))
