// Makes one page of a VM read-only: GuardOnePage unix:/run/tool.sock 0x1000
using System.Globalization;
using Hyperscope.Client;
using Hyperscope.Kvmi;
using Hyperscope.Vm;

using KvmiListener listener = KvmiListener.Listen(args[0]);
var page = new Gpa(ulong.Parse(args[1].Replace("0x", "", StringComparison.Ordinal), NumberStyles.HexNumber, CultureInfo.InvariantCulture));

Console.WriteLine($"waiting for a VM at {listener.Endpoint}");
await using IntrospectedVm vm = await listener.AcceptAsync();
vm.On<PageFaultEvent>(fault =>
{
    Console.WriteLine($"vCPU {fault.Vcpu.Index}: {fault.Access} of gpa {fault.Gpa} by the code at 0x{fault.Registers.Rip:x}");
    fault.Continue(); // Retry() executes the instruction again, Crash() stops the VM
});

await vm.EnableAsync(EventId.PageFault);
await vm.SetPageAccessAsync(page, PageAccess.Read | PageAccess.Execute);
await vm.Completion;
