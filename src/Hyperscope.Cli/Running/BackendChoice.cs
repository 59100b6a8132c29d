using Hyperscope.Machine;

namespace Hyperscope.Cli.Running;

/// <summary>What <c>--backend</c> asks for.</summary>
internal sealed record BackendChoice(string Name)
{
    private static readonly string[] Names = ["auto", "software", "kvm"];

    /// <summary>The default.</summary>
    public static BackendChoice Software { get; } = new("software");

    /// <summary>The option, the same wherever a VM is started.</summary>
    public static Option<string?> Option()
    {
        var option = new Option<string?>("--backend")
        {
            Description = "What executes guest code: software (unless given), kvm, or auto: kvm where a probe guest runs on it",
            HelpName = "auto|software|kvm",
        };
        option.Validators.Add(static result =>
        {
            string? name = result.Tokens.Count == 0 ? null : result.Tokens[0].Value;
            if (name is not null && !Names.Contains(name))
                result.AddError($"--backend {name} is none of {string.Join(", ", Names)}");
        });
        return option;
    }

    /// <summary>Decides; for auto one line on standard error says why not KVM.</summary>
    public VmBackend Resolve()
    {
        if (Name == "software")
            return VmBackend.Software;
        if (Name == "kvm")
            return VmBackend.Kvm;
        if (HardwareBackend.FindObstacle() is not { } obstacle)
            return VmBackend.Kvm;
        Console.Error.WriteLine($"the software CPU runs the guest: {obstacle}");
        return VmBackend.Software;
    }
}
