using System.Globalization;
using Hyperscope.Client;
using Hyperscope.Guests;
using Hyperscope.Kvmi;
using Hyperscope.Vm;

// A tool that does everything at once until it is killed: page faults on every vCPU, pauses, single-step, changing rights.
// Arguments: the VM's endpoint, a seed. Says "started" and waits for a line; says "busy" once every vCPU has had an event.
Console.WriteLine("started");
Console.ReadLine();
var random = new Random(int.Parse(args[1], CultureInfo.InvariantCulture));
await using IntrospectedVm vm = await IntrospectedVm.ConnectAsync(args[0]);
int seen = 0;
int all = (1 << vm.Vcpus.Count) - 1;
var busy = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);

void Saw(IntrospectedVcpu vcpu)
{
    if ((Interlocked.Or(ref seen, 1 << vcpu.Index.Value) | (1 << vcpu.Index.Value)) == all)
        busy.TrySetResult();
}

int turn = 0;
vm.On<PageFaultEvent>(pf =>
{
    Saw(pf.Vcpu);
    if ((turn++ & 1) == 0)
        pf.Continue();
    else
        pf.Retry();
});
vm.On<PauseVcpuEvent>(static pause => pause.Continue());
vm.On<SinglestepEvent>(static step => step.Continue());
foreach (EventId id in new[] { EventId.PageFault, EventId.PauseVcpu, EventId.Singlestep })
    await vm.EnableAsync(id);
Gfn first = SelftestGuest.TestPage.Frame;
await vm.SetPageAccessAsync(first, vm.Vcpus.Count, PageAccess.Read);
await busy.Task;
Console.WriteLine("busy");
while (true)
{
    IntrospectedVcpu vcpu = vm.Vcpus[random.Next(vm.Vcpus.Count)];
    var page = new Gfn(first.Value + (ulong)random.Next(vm.Vcpus.Count));
    switch (random.Next(8))
    {
        case 0:
            await vm.PauseAsync();
            break;
        case 1:
            await vcpu.PauseAsync(wait: false);
            break;
        case 2:
            await vcpu.ControlSinglestepAsync(true);
            break;
        case 3:
            await vcpu.ControlSinglestepAsync(false);
            break;
        case 4:
            await vm.SetPageAccessAsync(page, PageAccess.All);
            break;
        case 5:
            await vm.SetPageAccessAsync(page, PageAccess.None);
            break;
        case 6:
            _ = await vcpu.GetRegistersAsync();
            break;
        default:
            await vm.SetPageAccessAsync(page, PageAccess.Read);
            break;
    }
}
